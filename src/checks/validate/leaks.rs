//! What a run may leave behind.

use super::Judged;
use crate::host::Host;

/// What is counted before and after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traces {
    files: usize,
    /// Memory of this process that is pinned or locked, in KiB.
    pinned: u64,
    empty_groups: usize,
}

impl Traces {
    /// As they are now.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let own = host.own_memory();
        Self {
            files: host.own_files(),
            pinned: own.pinned + own.locked,
            empty_groups: host.empty_groups(),
        }
    }

    /// Whether this run left something behind.
    #[must_use]
    pub fn compared_with(self, before: Self) -> Judged {
        let mut left = Vec::new();
        let mut count = |what: &str, before: u64, after: u64| {
            if after != before {
                left.push(format!("{what}: {before} before, {after} now"));
            }
        };
        count("open files", before.files as u64, self.files as u64);
        count("KiB pinned", before.pinned, self.pinned);
        let (old, new) = (before.empty_groups as u64, self.empty_groups as u64);
        count("IOMMU groups without a device", old, new);
        if left.is_empty() {
            return Judged::pass(format!(
                "{} open files, {} KiB pinned, {} IOMMU groups without a device, as before",
                self.files, self.pinned, self.empty_groups
            ));
        }
        Judged::fail(
            "something was left behind",
            "report it with this output, and the version of the kernel",
        )
        .with_evidence(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::doctor::Health;

    #[test]
    fn what_is_left_is_named() {
        let before = Traces {
            files: 5,
            pinned: 0,
            empty_groups: 0,
        };
        assert_eq!(before.compared_with(before).verdict, Health::Pass);
        let after = Traces {
            pinned: 8,
            ..before
        };
        let judged = after.compared_with(before);
        assert_eq!(judged.verdict, Health::Fail);
        assert_eq!(judged.evidence, ["KiB pinned: 0 before, 8 now"]);
    }
}
