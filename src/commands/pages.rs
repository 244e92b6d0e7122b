//! The kinds of pages that a user asks for.

use crate::cli::PagesChoice;
use crate::iommu::PageKind;
use crate::types::Size;

/// The pages behind a choice on the command line.
pub fn page_kind(choice: PagesChoice) -> PageKind {
    match choice {
        PagesChoice::Base => PageKind::Base,
        PagesChoice::Transparent => PageKind::Transparent,
        PagesChoice::Huge2M => PageKind::Huge(const { Size::new(2 << 20).unwrap() }),
        PagesChoice::Huge1G => PageKind::Huge(const { Size::new(1 << 30).unwrap() }),
    }
}
