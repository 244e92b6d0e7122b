//! Reports as one HTML file that needs nothing else: no script, no font, no address. Light and dark, as the reader's system is.

mod chart;
mod page;

pub use chart::{Axis, Line, LineChart, Scale};
pub use page::{Cell, Page, Tone};
