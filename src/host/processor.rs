//! The processors: what they are, how their clock is governed, how busy they are, and which one this process is on.

use super::Host;

const CPUINFO_LIMIT: u64 = 64 << 10;
const STAT_LIMIT: u64 = 4 << 10;
const PROCESSORS: &str = "/sys/devices/system/cpu";
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Where /proc/PID/stat has the number of the processor (proc_pid_stat(5)), counted from what follows the name in brackets.
const PROCESSOR_FIELD: usize = 39 - 3;

impl Host {
    /// The processors' model; only x86 says.
    #[must_use]
    pub fn processor_model(&self) -> Option<String> {
        let cpuinfo = self.text("/proc/cpuinfo", CPUINFO_LIMIT);
        let line = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    /// The governor of the first processor's clock; `None` where the kernel does not change the clock.
    #[must_use]
    pub fn governor(&self) -> Option<String> {
        self.attribute(format!("{PROCESSORS}/cpu0/cpufreq/scaling_governor"))
    }

    /// What the kernel tells the time by, as `tsc`. Where it gave up the processors' own counters, a look at the clock takes a microsecond.
    #[must_use]
    pub fn clock_source(&self) -> Option<String> {
        self.attribute(CLOCK_SOURCE)
    }

    /// How many processes wanted to run at a time in the last minute, on average.
    #[must_use]
    pub fn load(&self) -> Option<f64> {
        let text = self.attribute("/proc/loadavg")?;
        text.split_whitespace().next()?.parse().ok()
    }

    /// The NUMA node of the processor that this process ran on last; `None` if there are no nodes.
    #[must_use]
    pub fn own_node(&self) -> Option<u32> {
        let stat = self.text("/proc/self/stat", STAT_LIMIT);
        // The name may hold blanks and brackets.
        let (_, fields) = stat.rsplit_once(')')?;
        let processor: u32 = fields
            .split_whitespace()
            .nth(PROCESSOR_FIELD)?
            .parse()
            .ok()?;
        let names = self.names(format!("{PROCESSORS}/cpu{processor}"));
        names
            .iter()
            .find_map(|name| name.strip_prefix("node")?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn processors_are_described_by_what_the_kernel_shows() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let host = Host::at(folder.path());
        assert_eq!((host.processor_model(), host.governor()), (None, None));
        assert_eq!((host.load(), host.own_node()), (None, None));
        assert_eq!(host.clock_source(), None);

        write(
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: A Processor 9000\n",
        );
        write("proc/loadavg", "1.25 0.50 0.10 1/200 4242\n");
        let zeros = "0 ".repeat(35);
        write("proc/self/stat", &format!("77 (a) b) R {zeros}3 0 0\n"));
        write("sys/devices/system/cpu/cpu3/node1/cpulist", "3\n");
        write(
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "powersave\n",
        );
        write(
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet\n",
        );

        assert_eq!(host.processor_model().unwrap(), "A Processor 9000");
        assert_eq!(host.governor().unwrap(), "powersave");
        assert_eq!(host.clock_source().unwrap(), "hpet");
        assert_eq!((host.load(), host.own_node()), (Some(1.25), Some(1)));
    }
}
