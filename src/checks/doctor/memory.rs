//! Whether memory can be mapped: limits of the process and its control groups, huge pages, and the number of mappings.

use super::{Diagnosis, Ground, HostCheck, size};
use crate::host::{HugePages, TransparentHugePages};

pub(super) const LOCKED: HostCheck = HostCheck {
    id: "limit.memlock",
    title: "enough memory may be locked",
    run: locked,
};

pub(super) const CONTROL_GROUPS: HostCheck = HostCheck {
    id: "limit.cgroup",
    title: "no control group is too small",
    run: control_groups,
};

pub(super) const AVAILABLE: HostCheck = HostCheck {
    id: "memory.available",
    title: "enough memory is free",
    run: available,
};

pub(super) const HUGE_PAGES: HostCheck = HostCheck {
    id: "memory.huge-pages",
    title: "huge pages make mapping fast",
    run: huge_pages,
};

pub(super) const ENTRIES: HostCheck = HostCheck {
    id: "limit.mappings",
    title: "enough mappings are allowed",
    run: entries,
};

/// What is little: a limit up to this is the default of systemd or the kernel, not a choice.
const DEFAULT_LIMIT: u64 = 8 << 20;

/// What type1 allows if nothing else is said (`dma_entry_limit` of drivers/vfio/vfio_iommu_type1.c).
const DEFAULT_ENTRIES: u64 = 65535;

const KIB_4: u64 = 4 << 10;
const MIB_2: u64 = 2 << 20;
const GIB_1: u64 = 1 << 30;

fn locked(ground: &Ground<'_>) -> Diagnosis {
    let Some(limit) = ground.host.locked_memory() else {
        return Diagnosis::skip("/proc/self/limits does not tell");
    };
    let soft = limit.soft.map_or_else(|| "unlimited".to_owned(), size);
    if limit.exempt {
        return Diagnosis::pass(format!(
            "this process is exempt (CAP_IPC_LOCK); an ordinary user started from here may lock {soft}"
        ));
    }
    let Some(bytes) = limit.soft else {
        return Diagnosis::pass("unlimited");
    };
    let remedy = |wanted: u64| {
        let raised = limit.hard.is_none_or(|hard| hard >= wanted);
        let kibibytes = wanted.div_ceil(1024);
        let now = if raised {
            format!("ulimit -l {kibibytes}")
        } else {
            format!(
                "echo '* - memlock {kibibytes}' > /etc/security/limits.d/vfio.conf and log in again"
            )
        };
        format!("{now}; for a service: LimitMEMLOCK={wanted}")
    };
    match ground.memory {
        Some(memory) if bytes < memory.bytes() => Diagnosis::fail(
            format!(
                "{memory} are to be mapped, and this user may lock {soft}: mapping locks memory, and fails with ENOMEM past the limit"
            ),
            remedy(memory.bytes()),
        ),
        Some(memory) => Diagnosis::pass(format!("{soft}, {memory} are asked for")),
        None if bytes <= DEFAULT_LIMIT => Diagnosis::warn(
            format!(
                "this user may lock {soft}: enough to test a device, too little for most virtual machines and DPDK"
            ),
            remedy(GIB_1),
        ),
        None => Diagnosis::pass(soft),
    }
}

fn control_groups(ground: &Ground<'_>) -> Diagnosis {
    let limits = ground.host.group_limits();
    if limits.is_empty() {
        return Diagnosis::pass("no limit on memory (control groups of version 2)");
    }
    let memory = ground.memory.map_or(0, |memory| memory.bytes());
    let free =
        |limit: &crate::host::GroupLimit| limit.bytes.saturating_sub(limit.used.unwrap_or(0));
    // Huge pages have limits of their own, which count only for those who use them.
    let small = limits
        .iter()
        .filter(|limit| limit.file == "memory.max")
        .find(|limit| free(limit) < memory);
    if let Some(limit) = small {
        return Diagnosis::fail(
            format!(
                "control group {}: {} is {}, {} of it free",
                limit.group,
                limit.file,
                size(limit.bytes),
                size(free(limit))
            ),
            format!(
                "systemctl set-property UNIT MemoryMax=infinity, or echo max > /sys/fs/cgroup{}/{}",
                limit.group, limit.file
            ),
        );
    }
    let words: Vec<String> = limits
        .iter()
        .map(|limit| format!("{} {}={}", limit.group, limit.file, size(limit.bytes)))
        .collect();
    Diagnosis::pass(words.join(", "))
}

fn available(ground: &Ground<'_>) -> Diagnosis {
    let Some(bytes) = ground.host.available_memory() else {
        return Diagnosis::skip("/proc/meminfo does not tell");
    };
    let reserved: u64 = ground
        .host
        .huge_pages()
        .iter()
        .map(|pages| pages.free.saturating_mul(pages.size))
        .sum();
    let evidence = format!(
        "{} available, {} free in huge pages",
        size(bytes),
        size(reserved)
    );
    match ground.memory {
        Some(memory) if bytes.max(reserved) < memory.bytes() => Diagnosis::fail(
            format!("{memory} are asked for, {evidence}"),
            "free memory, or ask for less: what is mapped for a device cannot be swapped out",
        ),
        _ => Diagnosis::pass(evidence),
    }
}

fn huge_pages(ground: &Ground<'_>) -> Diagnosis {
    let reserves: Vec<HugePages> = ground
        .host
        .huge_pages()
        .into_iter()
        .filter(|pages| pages.total > 0)
        .collect();
    let transparent = ground.host.transparent_huge_pages();
    let transparent_words = match transparent {
        Some(TransparentHugePages::Always) => "transparent ones always",
        Some(TransparentHugePages::OnRequest) => "transparent ones on request",
        Some(TransparentHugePages::Never) => "no transparent ones",
        None => "no transparent ones in this kernel",
    };
    let words: Vec<String> = reserves
        .iter()
        .map(|pages| {
            format!(
                "{} of {} pages of {} free",
                pages.free,
                pages.total,
                size(pages.size)
            )
        })
        .chain([transparent_words.to_owned()])
        .collect();
    let evidence = words.join(", ");
    let wanted = ground.memory.map_or(GIB_1, |memory| memory.bytes());
    let remedy = format!(
        "sysctl vm.nr_hugepages={}; for pages of 1G, at boot: {}",
        wanted.div_ceil(MIB_2),
        ground.add_parameter(&format!(
            "hugepagesz=1G hugepages={}",
            wanted.div_ceil(GIB_1)
        ))
    );
    let holds = |pages: &HugePages| pages.free.saturating_mul(pages.size) >= wanted;
    match (ground.memory, transparent) {
        (Some(memory), _) if reserves.iter().any(holds) => {
            Diagnosis::pass(format!("{evidence}: {memory} fit into the reserve"))
        }
        (_, Some(TransparentHugePages::Always | TransparentHugePages::OnRequest)) => {
            Diagnosis::pass(evidence)
        }
        (None, _) if !reserves.is_empty() => Diagnosis::pass(evidence),
        _ => Diagnosis::warn(
            format!("{evidence}: mapping by pages of 4K takes ten times as long and more"),
            remedy,
        ),
    }
}

fn entries(ground: &Ground<'_>) -> Diagnosis {
    let limit = ground
        .host
        .module_parameter("vfio_iommu_type1", "dma_entry_limit")
        .and_then(|value| value.parse().ok())
        .unwrap_or(DEFAULT_ENTRIES);
    let sizes = [KIB_4, MIB_2, GIB_1];
    let Some(memory) = ground.memory else {
        let reach = sizes.map(|page| {
            format!(
                "{} by pages of {}",
                size(limit.saturating_mul(page)),
                size(page)
            )
        });
        return Diagnosis::pass(format!(
            "type1 holds {limit} mappings at a time, so a program that maps each page by itself gets {}; iommufd has no limit",
            reach.join(", ")
        ));
    };
    let needed = |page: u64| memory.bytes().div_ceil(page);
    let words = sizes.map(|page| format!("{} (pages of {})", needed(page), size(page)));
    let evidence = format!(
        "{memory}, if each page is mapped by itself, takes {} mappings; type1 holds {limit} at a time",
        words.join(", ")
    );
    let remedy = format!(
        "map larger pieces, use iommufd (no limit), or: echo 'options vfio_iommu_type1 dma_entry_limit={}' > /etc/modprobe.d/vfio-entries.conf",
        needed(KIB_4).saturating_add(DEFAULT_ENTRIES)
    );
    if needed(MIB_2) > limit {
        Diagnosis::warn(format!("{evidence}: too few even for pages of 2M"), remedy)
    } else if needed(KIB_4) > limit {
        Diagnosis::pass(format!(
            "{evidence}: enough for pages of 2M, too few for pages of 4K"
        ))
    } else {
        Diagnosis::pass(evidence)
    }
}
