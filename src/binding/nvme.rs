//! NVMe controllers with virtual functions: each starts offline and without queues, until the physical function's controller gives
//! it some and sets it online (NVM Express Base 2.0, section 8.26).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::Step;
use crate::host::{Host, NameKind};
use crate::sys::nvme::{self, AdminError};
use crate::types::Bdf;

/// Identify structures (Base 2.0, figure 273).
const CONTROLLER: u8 = 0x01;
const PRIMARY_CAPABILITIES: u8 = 0x14;
const SECONDARY_LIST: u8 = 0x15;

/// What a controller's resources are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmeResource {
    /// Queue pairs: the admin queues and at least one pair for I/O.
    Queues,
    /// Interrupt vectors.
    Interrupts,
}

impl NvmeResource {
    const ALL: [Self; 2] = [Self::Interrupts, Self::Queues];

    /// The fewest that a controller works with.
    fn least(self) -> u16 {
        match self {
            Self::Queues => 2,
            Self::Interrupts => 1,
        }
    }

    /// The Resource Type of the command.
    fn code(self) -> u32 {
        match self {
            Self::Queues => 0,
            Self::Interrupts => 1,
        }
    }
}

/// What a Virtualization Management command does (Base 2.0, section 5.28).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvmeAction {
    /// The physical function keeps this many of those that can be given away, from its next reset on.
    Keep(NvmeResource, u16),
    /// A virtual function that is offline gets this many.
    Assign(NvmeResource, u16),
    /// A virtual function is put into use.
    Online,
}

/// A Virtualization Management command. Prints as nvme-cli's command that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvmeCommand {
    /// The node of the physical function's controller.
    pub node: PathBuf,
    /// The controller that it is about.
    pub controller: u16,
    /// What it does.
    pub action: NvmeAction,
}

impl NvmeCommand {
    /// Dwords 10 and 11 of the command.
    fn dwords(&self) -> [u32; 2] {
        let (action, resource, number) = match self.action {
            NvmeAction::Keep(resource, number) => (1, resource.code(), number),
            NvmeAction::Assign(resource, number) => (8, resource.code(), number),
            NvmeAction::Online => (9, 0, 0),
        };
        let first = action | resource << 8 | u32::from(self.controller) << 16;
        [first, u32::from(number)]
    }

    /// Sends it.
    pub(super) fn send(&self) -> Result<(), AdminError> {
        let node = open(&self.node).map_err(AdminError::Kernel)?;
        nvme::manage_virtualization(node.as_fd(), self.dwords())
    }
}

impl fmt::Display for NvmeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, controller) = (self.node.display(), self.controller);
        write!(f, "nvme virt-mgmt {node} --cntlid={controller}")?;
        match self.action {
            NvmeAction::Keep(resource, number) => {
                write!(f, " --act=1 --rt={} --nr={number}", resource.code())
            }
            NvmeAction::Assign(resource, number) => {
                write!(f, " --act=8 --rt={} --nr={number}", resource.code())
            }
            NvmeAction::Online => f.write_str(" --act=9"),
        }
    }
}

/// One resource of a physical function (Base 2.0, figure 308).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pool {
    /// How many can be given away, those that virtual functions have included.
    flexible: u32,
    /// How many of them the physical function has for itself.
    kept: u16,
    /// The most that one virtual function can have.
    most: u16,
    /// Numbers are multiples of this.
    unit: u16,
}

/// How many of the resources that can be given away a physical function keeps for itself. The drive remembers this over resets and
/// restarts (Base 2.0, section 5.28, action 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flexible {
    /// Queue pairs.
    pub queues: u16,
    /// Interrupt vectors.
    pub interrupts: u16,
}

impl Flexible {
    fn of(self, resource: NvmeResource) -> u16 {
        match resource {
            NvmeResource::Queues => self.queues,
            NvmeResource::Interrupts => self.interrupts,
        }
    }
}

impl fmt::Display for Flexible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, interrupts } = self;
        write!(
            f,
            "{queues} queues and {interrupts} interrupts to give away"
        )
    }
}

/// A virtual function's controller (Base 2.0, figure 312).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Secondary {
    id: u16,
    /// The number of the virtual function, from 1.
    function: u16,
}

/// What a physical function's controller says of its virtual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Virtualization {
    node: PathBuf,
    id: u16,
    queues: Pool,
    interrupts: Pool,
    secondaries: Vec<Secondary>,
}

/// Why the virtual functions of an NVMe controller cannot be put into use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shortage {
    /// There are queues or interrupts for this many only.
    OnlyFor(u16),
}

/// The steps that put virtual functions into use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shares {
    /// Before they are made.
    pub before: Vec<Step>,
    /// Once they are there.
    pub after: Vec<Step>,
}

impl Virtualization {
    /// Asks the controller of a physical function; `None` if it is no NVMe controller of the kernel's driver, or one whose virtual
    /// functions need no such management.
    ///
    /// # Errors
    /// The controller's node, and why it does not answer.
    pub fn of(host: &Host, pf: Bdf) -> Result<Option<Self>, (PathBuf, AdminError)> {
        let names = host.kernel_names();
        let name = names.of(pf).find(|name| name.kind == NameKind::Nvme);
        let Some(name) = name.filter(|_| host.is_live()) else {
            return Ok(None);
        };
        let node = Path::new("/dev").join(&name.name);
        Self::ask(&node).map_err(|error| (node, error))
    }

    fn ask(node: &Path) -> Result<Option<Self>, AdminError> {
        let file = open(node).map_err(AdminError::Kernel)?;
        let read = |structure| nvme::identify(file.as_fd(), structure, 0);
        if !manages_virtualization(&read(CONTROLLER)?) {
            return Ok(None);
        }
        let primary = read(PRIMARY_CAPABILITIES)?;
        Ok(Some(Self {
            node: node.to_owned(),
            id: word(&primary, 0),
            queues: pool(&primary, 32),
            interrupts: pool(&primary, 64),
            secondaries: secondaries(&read(SECONDARY_LIST)?),
        }))
    }

    fn pool(&self, resource: NvmeResource) -> Pool {
        match resource {
            NvmeResource::Queues => self.queues,
            NvmeResource::Interrupts => self.interrupts,
        }
    }

    fn command(&self, controller: u16, action: NvmeAction) -> Step {
        Step::Nvme(NvmeCommand {
            node: self.node.clone(),
            controller,
            action,
        })
    }

    /// What the physical function keeps now.
    pub fn flexible(&self) -> Flexible {
        Flexible {
            queues: self.queues.kept,
            interrupts: self.interrupts.kept,
        }
    }

    /// What has the physical function keep this much again, once no virtual one has any of it; nothing if it does.
    pub fn steps_back(&self, pf: Bdf, flexible: Flexible) -> Vec<Step> {
        let differs = |resource: &NvmeResource| self.pool(*resource).kept != flexible.of(*resource);
        let keep = |resource: NvmeResource| {
            self.command(self.id, NvmeAction::Keep(resource, flexible.of(resource)))
        };
        let resources = NvmeResource::ALL.into_iter().filter(differs);
        let mut steps: Vec<Step> = resources.map(keep).collect();
        if !steps.is_empty() {
            steps.push(reset(pf));
        }
        steps
    }

    /// How many of a resource each of `count` functions gets: an equal share.
    fn share(&self, resource: NvmeResource, count: u16) -> u16 {
        let pool = self.pool(resource);
        let share = (pool.flexible / u32::from(count.max(1))).min(u32::from(pool.most));
        let unit = u32::from(pool.unit.max(1));
        // At most `most`, which is a u16.
        (share / unit * unit) as u16
    }

    /// What puts the first `count` functions into use, which are made anew and therefore offline.
    ///
    /// # Errors
    /// There is not enough for so many.
    pub fn shares(&self, pf: Bdf, count: u16) -> Result<Shares, Shortage> {
        let mut shares = Shares::default();
        for resource in NvmeResource::ALL {
            let pool = self.pool(resource);
            let needed = u32::from(self.share(resource, count)) * u32::from(count);
            if self.share(resource, count) < resource.least() {
                let most = pool.flexible / u32::from(resource.least());
                return Err(Shortage::OnlyFor(u16::try_from(most).unwrap_or(u16::MAX)));
            }
            if needed > pool.flexible.saturating_sub(u32::from(pool.kept)) {
                let keep = NvmeAction::Keep(resource, 0);
                shares.before.push(self.command(self.id, keep));
            }
        }
        if !shares.before.is_empty() {
            shares.before.push(reset(pf));
        }
        let wanted = self
            .secondaries
            .iter()
            .filter(|secondary| (1..=count).contains(&secondary.function));
        for secondary in wanted {
            for resource in NvmeResource::ALL {
                let number = self.share(resource, count);
                let assign = NvmeAction::Assign(resource, number);
                shares.after.push(self.command(secondary.id, assign));
            }
            let online = self.command(secondary.id, NvmeAction::Online);
            shares.after.push(online);
        }
        Ok(shares)
    }
}

/// What a controller keeps counts from its next reset on.
fn reset(pf: Bdf) -> Step {
    Step::write(format!("/sys/bus/pci/devices/{pf}/reset"), 1)
}

/// Whether the steps reset the physical function.
pub(super) fn resets(steps: &[Step], pf: Bdf) -> bool {
    steps.contains(&reset(pf))
}

fn open(node: &Path) -> Result<File, Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    File::open(node).map_err(errno)
}

/// Optional Admin Command Support, bit 7 (Base 2.0, figure 275).
fn manages_virtualization(controller: &[u8]) -> bool {
    word(controller, 256) & 1 << 7 != 0
}

fn pool(primary: &[u8], at: usize) -> Pool {
    Pool {
        flexible: u32::from(word(primary, at)) | u32::from(word(primary, at + 2)) << 16,
        kept: word(primary, at + 8),
        most: word(primary, at + 12),
        unit: word(primary, at + 14),
    }
}

fn secondaries(list: &[u8]) -> Vec<Secondary> {
    let number = usize::from(list.first().copied().unwrap_or(0));
    let entry = |entry: &[u8]| Secondary {
        id: word(entry, 0),
        function: word(entry, 8),
    };
    list.get(32..)
        .unwrap_or_default()
        .chunks_exact(32)
        .take(number)
        .map(entry)
        .collect()
}

/// What lies beyond the end reads as 0.
fn word(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: u16) {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// A controller with 8 queues and 4 interrupts to give away, all of which it has itself, and 4 virtual functions.
    fn controller() -> Virtualization {
        let mut primary = vec![0; 4096];
        for (at, flexible, most) in [(32, 8, 4), (64, 4, 2)] {
            put(&mut primary, at, flexible);
            put(&mut primary, at + 8, flexible);
            put(&mut primary, at + 12, most);
            put(&mut primary, at + 14, 1);
        }
        let mut list = vec![0; 4096];
        list[0] = 4;
        for number in 0..4 {
            let at = 32 + 32 * usize::from(number);
            put(&mut list, at, number + 1);
            put(&mut list, at + 8, number + 1);
        }
        Virtualization {
            node: "/dev/nvme0".into(),
            id: 0,
            queues: pool(&primary, 32),
            interrupts: pool(&primary, 64),
            secondaries: secondaries(&list),
        }
    }

    fn shell(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_function_gets_an_equal_share_and_is_set_online() {
        let shares = controller().shares("01:00.0".parse().unwrap(), 2).unwrap();

        assert_eq!(
            shell(&shares.before),
            [
                "nvme virt-mgmt /dev/nvme0 --cntlid=0 --act=1 --rt=1 --nr=0",
                "nvme virt-mgmt /dev/nvme0 --cntlid=0 --act=1 --rt=0 --nr=0",
                "echo 1 > /sys/bus/pci/devices/0000:01:00.0/reset",
            ]
        );
        assert_eq!(
            shell(&shares.after)[..4],
            [
                "nvme virt-mgmt /dev/nvme0 --cntlid=1 --act=8 --rt=1 --nr=2",
                "nvme virt-mgmt /dev/nvme0 --cntlid=1 --act=8 --rt=0 --nr=4",
                "nvme virt-mgmt /dev/nvme0 --cntlid=1 --act=9",
                "nvme virt-mgmt /dev/nvme0 --cntlid=2 --act=8 --rt=1 --nr=2",
            ]
        );
        assert_eq!(shares.after.len(), 6);
    }

    #[test]
    fn a_physical_function_that_keeps_nothing_is_not_reset() {
        let mut controller = controller();
        (controller.queues.kept, controller.interrupts.kept) = (0, 0);

        let shares = controller.shares("01:00.0".parse().unwrap(), 2).unwrap();

        assert_eq!((shares.before.len(), shares.after.len()), (0, 6));
    }

    #[test]
    fn the_physical_function_gets_back_what_it_kept_before() {
        let pf = "01:00.0".parse().unwrap();
        let mut controller = controller();
        let before = controller.flexible();
        assert_eq!(controller.steps_back(pf, before), []);
        (controller.queues.kept, controller.interrupts.kept) = (0, 4);
        let steps = controller.steps_back(pf, before);
        assert_eq!(
            shell(&steps),
            [
                "nvme virt-mgmt /dev/nvme0 --cntlid=0 --act=1 --rt=0 --nr=8",
                "echo 1 > /sys/bus/pci/devices/0000:01:00.0/reset",
            ]
        );
        assert!(resets(&steps, pf) && !resets(&steps[..1], pf));
    }

    #[test]
    fn too_few_queues_for_so_many_functions_are_told() {
        let mut controller = controller();
        controller.queues.flexible = 6;
        let bdf = "01:00.0".parse().unwrap();
        assert_eq!(controller.shares(bdf, 4), Err(Shortage::OnlyFor(3)));
        assert!(controller.shares(bdf, 3).is_ok());
    }

    #[test]
    fn commands_are_encoded_as_the_specification_says() {
        let command = |action| NvmeCommand {
            node: "/dev/nvme0".into(),
            controller: 3,
            action,
        };
        for (action, dwords) in [
            (
                NvmeAction::Keep(NvmeResource::Interrupts, 0),
                [0x0003_0101, 0],
            ),
            (
                NvmeAction::Assign(NvmeResource::Queues, 2),
                [0x0003_0008, 2],
            ),
            (NvmeAction::Online, [0x0003_0009, 0]),
        ] {
            assert_eq!(command(action).dwords(), dwords, "{action:?}");
        }
    }

    #[test]
    fn a_list_that_is_cut_short_is_no_harm() {
        assert_eq!(secondaries(&[]), []);
        assert_eq!(secondaries(&[200; 33]), []);
        assert!(!manages_virtualization(&[0xff; 100]));
    }
}
