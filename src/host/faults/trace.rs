//! Faults by the trace event `iommu:io_page_fault` (include/trace/events/iommu.h).
//!
//! A third observer, with device and address, and no limit on its rate. AMD-Vi raises it; VT-d, SMMUv3 and virtio-iommu do not. SMMU versions 1
//! and 2 do, but name no device, and many kernels fall over that (`report_iommu_fault` of arm-smmu.c passes NULL, of which the event takes the
//! name): there nobody must turn it on.

use nix::errno::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use super::{Access, Fault, FaultSource, Reason};
use crate::host::tracing::TraceInstance;
use crate::host::translation::trace_value;
use crate::host::{Host, IommuKind, NotShown};
use crate::types::Iova;

/// IOMMU_FAULT_WRITE of include/linux/iommu.h; a read has no flag.
const WRITE: u64 = 1;

/// Listens to the trace events of faults, in an instance of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct FaultTrace {
    pipe: File,
    /// The beginning of a line whose rest has not come yet.
    rest: String,
    _instance: TraceInstance,
}

impl FaultTrace {
    /// Starts to listen.
    ///
    /// # Errors
    /// The kernel has no such events or must not be asked for them, tracefs is not mounted, or the process may not.
    pub fn start(host: &Host) -> Result<Self, NotShown> {
        let units = host.iommu_units().into_iter();
        if units
            .map(|name| host.describe_unit(name).kind)
            .any(|kind| kind == IommuKind::Smmu)
        {
            return Err(NotShown::NoSource(
                "with an Arm SMMU of version 1 or 2, many kernels crash when a fault is traced",
            ));
        }
        let instance = TraceInstance::start(host, &["io_page_fault"], None)?;
        Ok(Self {
            pipe: instance.pipe()?,
            rest: String::new(),
            _instance: instance,
        })
    }

    /// The faults since the start or since the last call. Never waits.
    ///
    /// # Errors
    /// What reading the trace gave.
    pub fn new_faults(&mut self, host: &Host) -> io::Result<Vec<Fault>> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    self.rest.push_str(&text);
                }
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => break,
                    Some(Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        Ok(lines.lines().filter_map(|line| parse(line, host)).collect())
    }
}

/// `irq/26-AMD-Vi-84 [001] ..... 12.345678: io_page_fault: IOMMU:nvme 0000:01:00.0 iova=0x… flags=0x0001`.
fn parse(line: &str, host: &Host) -> Option<Fault> {
    let (before, event) = line.split_once(": io_page_fault: IOMMU:")?;
    let seconds: f64 = before.split_whitespace().last()?.parse().ok()?;
    let device = event.split(' ').nth(1)?.parse().ok();
    let unit = device.and_then(|device| host.iommu_unit(device));
    let access = match trace_value(event, "flags=")? & WRITE {
        0 => Access::Read,
        _ => Access::Write,
    };
    Some(Fault {
        source: FaultSource::TraceEvents,
        time: Duration::try_from_secs_f64(seconds).ok()?,
        iommu: unit.map_or(IommuKind::Other, |unit| unit.kind),
        device,
        requester: None,
        unit: None,
        access: Some(access),
        address: Some(Iova(trace_value(event, "iova=")?)),
        pasid: None,
        reason: Reason {
            code: None,
            words: "told by a trace event, and not by the log".to_owned(),
        },
        sequence: 0,
        line: line.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "  irq/26-AMD-Vi-84      [001] .....    12.345678: io_page_fault: IOMMU:nvme 0000:01:00.0 iova=0x0000000000005000 flags=0x0001";

    #[test]
    fn an_event_names_device_address_and_access() {
        let folder = tempfile::tempdir().unwrap();
        let fault = parse(LINE, &Host::at(folder.path())).unwrap();
        assert_eq!(fault.device, "0000:01:00.0".parse().ok());
        assert_eq!(fault.address, Some(Iova(0x5000)));
        assert_eq!(fault.access, Some(Access::Write));
        assert_eq!(fault.time, Duration::from_micros(12_345_678));
        let read = parse(&LINE.replace("0001", "0000"), &Host::at(folder.path()));
        assert_eq!(read.unwrap().access, Some(Access::Read));
    }

    #[test]
    fn damaged_lines_break_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        for end in 0..LINE.len() {
            parse(&LINE[..end], &host);
            parse(&LINE[end..], &host);
        }
        assert_eq!(parse(&LINE.replace("12.345678", "-1"), &host), None);
        assert_eq!(parse(&LINE.replace("12.345678", "1e99"), &host), None);
    }
}
