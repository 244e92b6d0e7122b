//! The host and the device as they are, for the checks.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use crate::checks::{Controls, Observer, Signs, Translations};
use crate::device::{DeviceError, VfioDevice};
use crate::engine::{Arena, DmaEngine, EngineDriver, EngineError, EngineParts};
use crate::host::{
    Attachment, FaultReader, Host, KernelLog, Leaf, LogEvent, NotShown, TraceRecorder,
    physical_address,
};
use crate::types::{Bdf, IovaRange};

/// How long the kernel may take to log a fault; 30 ms were always enough.
const FAULT_LOG_DELAY: Duration = Duration::from_millis(100);

/// The host that this process runs on, and what it tells of a device.
pub struct LiveHost<'h> {
    host: &'h Host,
    device: Bdf,
    log: RefCell<Result<KernelLog, String>>,
    interrupts: RefCell<u64>,
    recorder: RefCell<Option<TraceRecorder>>,
}

impl<'h> LiveHost<'h> {
    pub fn new(host: &'h Host, device: Bdf) -> Self {
        Self {
            host,
            device,
            log: RefCell::new(Err("it was not marked".to_owned())),
            interrupts: RefCell::default(),
            recorder: RefCell::default(),
        }
    }

    fn fault_interrupts(&self) -> u64 {
        let all = self.host.fault_interrupts();
        all.iter().map(|interrupts| interrupts.count).sum()
    }

    /// The pages in a range by the IOMMU's own tables.
    fn page_table(&self, range: IovaRange) -> Result<Vec<Leaf>, NotShown> {
        let unit = self.host.iommu_unit(self.device);
        let unit = unit.ok_or(NotShown::NoSource("sysfs names no IOMMU for the device"))?;
        let stage = match self.host.lookup(self.device, &unit)?.attachment {
            Attachment::Table { stage, .. } => stage,
            Attachment::PassThrough | Attachment::Blocked => return Ok(Vec::new()),
            Attachment::Other { words } => return Err(NotShown::NotFollowed(words)),
        };
        let mut pages = Vec::new();
        self.host
            .visit_page_table(self.device, &unit, &mut |path| {
                let leaf = path.leaf(stage);
                pages.extend(leaf.filter(|leaf| overlaps(leaf, range)));
            })?;
        Ok(pages)
    }
}

fn overlaps(leaf: &Leaf, range: IovaRange) -> bool {
    leaf.range().is_some_and(|own| own.overlaps(range))
}

impl Observer for LiveHost<'_> {
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String> {
        physical_address(address.as_ptr() as usize).map_err(|error| error.to_string())
    }

    fn mark_faults(&self) {
        let log = KernelLog::from_now().map_err(|error| error.to_string());
        *self.log.borrow_mut() = log;
        self.interrupts.replace(self.fault_interrupts());
    }

    fn signs_since_mark(&self) -> Signs {
        thread::sleep(FAULT_LOG_DELAY);
        let mut log = self.log.borrow_mut();
        let records = match &mut *log {
            Ok(log) => log.new_records().map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        let mut suppressed = 0;
        let faults = records.map(|records| {
            let mut reader = FaultReader::default();
            let mut events: Vec<_> = records.iter().filter_map(|r| reader.read(r)).collect();
            events.extend(reader.finish());
            let mut faults = Vec::new();
            for event in events {
                match event.located(self.host) {
                    LogEvent::Fault(fault) => faults.push(fault),
                    LogEvent::Suppressed(messages) => suppressed += messages.messages,
                    LogEvent::Overflow(_) | LogEvent::OtherStatus => {}
                }
            }
            faults
        });
        let before = *self.interrupts.borrow();
        Signs {
            faults,
            interrupts: self.fault_interrupts().saturating_sub(before),
            suppressed,
        }
    }

    fn watch_mappings(&self) -> Result<(), String> {
        let nowhere = IovaRange::from_ends(Default::default(), Default::default());
        let Err(no_table) = self.page_table(nowhere.expect("a range of one byte")) else {
            return Ok(());
        };
        // One at a time: they have the same name.
        self.recorder.replace(None);
        match TraceRecorder::start(self.host) {
            Ok(recorder) => {
                self.recorder.replace(Some(recorder));
                Ok(())
            }
            Err(no_trace) => Err(format!(
                "the kernel shows no page table ({no_table}) and no trace of mappings ({no_trace})"
            )),
        }
    }

    fn translations(&self, range: IovaRange) -> Result<Translations, String> {
        let in_words = |why: NotShown| why.to_string();
        match &*self.recorder.borrow() {
            None => Ok(Translations {
                pages: self.page_table(range).map_err(in_words)?,
                source: "the IOMMU's page table",
                with_permissions: true,
            }),
            Some(recorder) => {
                let pieces = recorder.pieces().map_err(in_words)?;
                let leaves = pieces.iter().map(|piece| piece.as_leaf());
                Ok(Translations {
                    pages: leaves.filter(|leaf| overlaps(leaf, range)).collect(),
                    source: "the kernel's trace of the mapping",
                    with_permissions: false,
                })
            }
        }
    }
}

/// A device that this process has opened.
pub struct LiveDevice<'d> {
    pub device: &'d VfioDevice,
    pub driver: Option<&'static dyn EngineDriver>,
    pub parts: EngineParts<'d>,
    pub arena: &'d Arena<'d>,
}

impl<'d> Controls<'d> for LiveDevice<'d> {
    fn bdf(&self) -> Bdf {
        self.device.bdf()
    }

    fn set_bus_master(&self, on: bool) -> Result<(), DeviceError> {
        self.device.set_bus_master(on)
    }

    fn can_reset(&self) -> bool {
        self.device.can_reset()
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.device.reset()
    }

    fn open_engine(&self) -> Result<Option<Box<dyn DmaEngine + 'd>>, EngineError> {
        self.driver
            .map(|driver| driver.open(self.parts))
            .transpose()
    }

    fn engine_memory(&self) -> Vec<IovaRange> {
        self.arena.taken()
    }
}
