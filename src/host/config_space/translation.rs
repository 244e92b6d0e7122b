//! What a function itself does about address translation: ATS, PRI, PASID (sections 10.5.1, 10.5.2, 7.8.9).

use super::ConfigSpace;

/// Address Translation Services: the device keeps translations in a cache of its own, and sends addresses already translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ats {
    /// Whether it is on.
    pub enabled: bool,
    /// How many invalidations it queues, 1 to 32.
    pub queue_depth: u8,
}

/// Page Request Interface: the device asks for pages that are not mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pri {
    /// Whether it is on.
    pub enabled: bool,
    /// The most requests it may have outstanding.
    pub capacity: u32,
}

/// Process Address Space ID: the device uses several address spaces at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pasid {
    /// Whether it is on.
    pub enabled: bool,
    /// The bits of an ID, 0 to 20.
    pub width: u8,
    /// Whether it can ask to execute.
    pub execute: bool,
    /// Whether it can ask as a privileged party.
    pub privileged: bool,
}

impl ConfigSpace {
    /// Address Translation Services.
    #[must_use]
    pub fn ats(&self) -> Option<Ats> {
        let at = self.extended_capability(0x0f)?;
        let queue = (self.word(at + 4)? & 0x1f) as u8;
        Some(Ats {
            enabled: self.word(at + 6)? & 1 << 15 != 0,
            queue_depth: if queue == 0 { 32 } else { queue },
        })
    }

    /// The Page Request Interface.
    #[must_use]
    pub fn pri(&self) -> Option<Pri> {
        let at = self.extended_capability(0x13)?;
        Some(Pri {
            enabled: self.word(at + 4)? & 1 != 0,
            capacity: self.dword(at + 8)?,
        })
    }

    /// Process Address Space IDs.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        let at = self.extended_capability(0x1b)?;
        let capability = self.word(at + 4)?;
        Some(Pasid {
            enabled: self.word(at + 6)? & 1 != 0,
            width: (capability >> 8 & 0x1f) as u8,
            execute: capability & 1 << 1 != 0,
            privileged: capability & 1 << 2 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::space;

    #[test]
    fn the_three_are_read() {
        let space = space(
            4096,
            &[],
            &[
                (0x0f, 0x100, &[0x00, 0x00, 0x00, 0x80]),
                (0x13, 0x110, &[0, 0, 0, 0, 0x00, 0x02, 0, 0]),
                (0x1b, 0x120, &[0x04, 0x14, 0x01, 0x00]),
            ],
        );
        let ats = space.ats().unwrap();
        assert_eq!((ats.enabled, ats.queue_depth), (true, 32));
        let pri = space.pri().unwrap();
        assert_eq!((pri.enabled, pri.capacity), (false, 512));
        let pasid = space.pasid().unwrap();
        assert_eq!((pasid.enabled, pasid.width), (true, 20));
        assert_eq!((pasid.execute, pasid.privileged), (false, true));
    }
}
