//! What requests must be like, before anything is done for them.

use super::Failure;
use super::protocol::{LARGEST_PIECE, LONGEST_NAME, LONGEST_PATH, MapRequest, Pages};
use crate::iommu::PageKind;
use crate::types::{Iova, IovaRange, Size};

/// The range of a transfer, which is bounded.
pub(super) fn piece(iova: Iova, size: usize) -> Result<IovaRange, Failure> {
    if size > LARGEST_PIECE {
        return Err(Failure::usage(format!(
            "{size} bytes are more than the {LARGEST_PIECE} of one request"
        )));
    }
    IovaRange::new(iova, size as u64).map_err(|error| Failure::usage(error.to_string()))
}

impl MapRequest {
    /// That size and places are multiples of the address space's page in bytes, and of the pages asked for; else which are near.
    pub fn check(&self, page: u64) -> Result<(), Failure> {
        let whole = match page_kind(self.pages) {
            Some(PageKind::Huge(huge)) if self.file.is_none() => huge.bytes().max(page),
            _ => page,
        };
        if self.size == 0 {
            return Err(Failure::usage("a size of 0 maps nothing"));
        }
        multiple("size", self.size, whole)?;
        if let Some(iova) = self.iova {
            multiple("IOVA", iova.0, page)?;
        }
        if let Some(file) = &self.file {
            multiple("offset in the file", file.offset, page)?;
            if file.path.len() > LONGEST_PATH {
                let message = format!("a path has at most {LONGEST_PATH} bytes");
                return Err(Failure::usage(message));
            }
        }
        match &self.name {
            Some(name) => check_name(name),
            None => Ok(()),
        }
    }
}

/// The pages that are asked for; `None` for the best.
pub(super) fn page_kind(pages: Pages) -> Option<PageKind> {
    let huge = |bytes| Size::new(bytes).map(PageKind::Huge);
    match pages {
        Pages::Auto => None,
        Pages::Base => Some(PageKind::Base),
        Pages::Transparent => Some(PageKind::Transparent),
        Pages::Huge2M => huge(2 << 20),
        Pages::Huge1G => huge(1 << 30),
    }
}

/// That a number is a multiple of the page; else the nearest that are.
fn multiple(what: &str, number: u64, page: u64) -> Result<(), Failure> {
    if number % page == 0 {
        return Ok(());
    }
    let print = |number: u64| match what {
        "size" => Size::new(number).map_or_else(|| "0".to_owned(), |size| size.to_string()),
        _ => Iova(number).to_string(),
    };
    let below = number - number % page;
    let nearest: Vec<_> = [Some(below), below.checked_add(page)]
        .into_iter()
        .flatten()
        .filter(|near| *near > 0 || what != "size")
        .map(print)
        .collect();
    Err(Failure::usage(format!(
        "the {what} {} is not a multiple of the page size {}: the nearest are {}",
        print(number),
        print(page),
        nearest.join(" and ")
    )))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        return Err(Failure::usage(format!(
            "'{}' is not a name for a mapping: 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores make one",
            name.chars().take(LONGEST_NAME).collect::<String>()
        )));
    }
    Ok(())
}
