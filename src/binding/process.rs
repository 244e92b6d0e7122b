//! A process, told apart from a later one with the same number.

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (proc_pid_stat(5), field 22).
    started: u64,
}

impl Process {
    /// The process that runs this.
    #[must_use]
    pub fn own(host: &Host) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started: host.process_start(pid).unwrap_or_default(),
        }
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(self, host: &Host) -> bool {
        host.process_start(self.pid) == Some(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let host = Host::live();
        let own = Process::own(&host);
        assert!(own.is_alive(&host));
        let earlier = Process {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_alive(&host));
    }
}
