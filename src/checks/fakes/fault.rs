//! What can be wrong.

/// What is wrong with the hardware or the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checks) enum Fault {
    /// Nothing.
    None,
    /// IOVAs are physical addresses: nothing is translated.
    NotTranslated,
    /// The device's DMA goes nowhere.
    DeadDma,
    /// The device drops the address bits from 28 on.
    DropsUpperBits,
    /// Both of these at once.
    NotTranslatedAndDropsUpperBits,
    /// The third bit of the last byte of each transfer comes out wrong.
    FlippedBit,
    /// A bit of the data path always reads as one.
    StuckBit,
    /// Writes are a byte longer than they should be.
    OneByteTooMany,
    /// Transfers of one byte are not done.
    IgnoresSingleBytes,
    /// The lowest three bits of addresses are dropped.
    AlignsAddresses,
    /// A transfer over the end of a page goes on at the start of the same page.
    WrapsAtPageEnd,
    /// Only the first page of a transfer is translated; it goes on where that page lies in memory.
    TranslatesFirstPageOnly,
    /// The device reads memory once, and sends that ever after.
    SendsOldData,
    /// The address does not carry into its upper half within a transfer.
    CarriesWithin32Bits,
    /// The first page of the IOVA space is not translated.
    FirstPageIsDead,
    /// The highest bit of IOVAs is not looked at.
    IgnoresTopBit,
    /// The range of interrupts begins a page too early.
    ReservesOnePageTooMany,
    /// A transfer from the last byte of a page is translated by what follows.
    LooksPastLastByte,
    /// The second half of a huge page is a page off.
    HugePagesAreOff,
    /// A second IOVA for a page leads nowhere.
    OneIovaForEachPage,
    /// With an unmap, all other IOVAs of the memory go too.
    UnmapTakesAllIovas,
    /// Mappings beyond a thousand are acknowledged and not made.
    TableIsSmall,
    /// From the sixth read on the device does not answer.
    Hangs,
    /// From the sixth read on a bit comes out wrong.
    WearsOut,
    /// The unmap is acknowledged and not done.
    IgnoresUnmap,
    /// After an unmap the device can still read (a stale translation for reads).
    StaleReads,
    /// After an unmap the device can still write.
    StaleWrites,
    /// A mapping over another one is let in.
    AcceptsOverlap,
    /// Once an address leads to other memory, the device still reaches the old.
    ServesOldPage,
    /// A bit of addresses is not looked at.
    IgnoresAddressBit,
    /// A mapping reaches a page further than it should.
    MapsOnePageTooMany,
    /// What may only be read can be written.
    IgnoresProtection,
    /// What may only be read cannot be read.
    ReadOnlyIsUnreadable,
    /// Devices are all in one address space.
    SharesSpaces,
    /// The device does DMA whether it may or not.
    IgnoresBusMaster,
    /// The device reads whether it may or not.
    ReadsWithoutBusMaster,
    /// A reset brings old translations back.
    ResetRestoresMappings,
    /// The device does not come back from a reset.
    ResetFails,
    /// The IOMMU's tables have other pages than were mapped.
    TranslatesToOtherPages,
    /// The IOMMU's tables let the device write everything.
    TablePermitsAll,
}
