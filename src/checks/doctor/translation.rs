//! How the IOMMU translates: for the host's own drivers, and how wide.

use std::collections::BTreeMap;

use super::{Diagnosis, Ground, HostCheck, count, size};

pub(super) const DOMAINS: HostCheck = HostCheck {
    id: "iommu.domains",
    title: "how the host's own drivers are translated: direct, lazy or strict",
    run: domains,
};

pub(super) const ADDRESS_WIDTH: HostCheck = HostCheck {
    id: "iommu.address-width",
    title: "IOVAs are wide enough",
    run: address_width,
};

fn domains(ground: &Ground<'_>) -> Diagnosis {
    if ground.groups.is_empty() {
        return Diagnosis::skip("there are no IOMMU groups");
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for group in &ground.groups {
        *kinds
            .entry(group.domain.as_deref().unwrap_or("unknown"))
            .or_default() += 1;
    }
    let words: Vec<String> = kinds
        .iter()
        .map(|(kind, number)| {
            let meaning = match *kind {
                "identity" => "direct, not translated",
                "DMA" => "translated, strict",
                "DMA-FQ" => "translated, lazy: unmapped memory stays in reach for milliseconds",
                "blocked" => "no DMA at all",
                _ => "not told",
            };
            format!("{} {kind} ({meaning})", count(*number, "group"))
        })
        .collect();
    Diagnosis::pass(format!(
        "{}; this is for the host's own drivers, VFIO sets up a translated, strict domain of its own",
        words.join(", ")
    ))
}

fn address_width(ground: &Ground<'_>) -> Diagnosis {
    if !ground.host.has_iommu() {
        return Diagnosis::skip("there is no IOMMU");
    }
    let units = ground.host.iommu_units().into_iter();
    let narrowest = units
        .map(|name| ground.host.describe_unit(name))
        .filter_map(|unit| Some((unit.address_width?, unit.name)))
        .min();
    let Some((bits, name)) = narrowest else {
        return Diagnosis::skip(
            "the IOMMU's driver does not tell; 'doctor DEVICE' finds out with a device on VFIO",
        );
    };
    let reach = 1_u128 << bits.min(64);
    if let Some(memory) = ground
        .memory
        .filter(|memory| u128::from(memory.bytes()) > reach)
    {
        return Diagnosis::fail(
            format!("{name} has IOVAs of {bits} bits, too few for {memory} at once"),
            "map less at a time, or use a machine with a wider IOMMU",
        );
    }
    match ground.host.physical_address_bits() {
        Some(physical) if physical > bits => Diagnosis::warn(
            format!(
                "{name} has IOVAs of {bits} bits ({}), the processor's physical addresses {physical}: a virtual machine that places memory or \
                 devices above that fails to map them (EINVAL)",
                size(u64::try_from(reach).unwrap_or(u64::MAX))
            ),
            format!(
                "give virtual machines a processor with fewer address bits; with QEMU: -cpu host,guest-phys-bits={bits} (libvirt: <maxphysaddr mode='passthrough' limit='{bits}'/>)"
            ),
        ),
        Some(physical) => Diagnosis::pass(format!(
            "{bits} bits, the processor's physical addresses have {physical}"
        )),
        None => Diagnosis::pass(format!("{bits} bits")),
    }
}
