//! temporary
use super::{ReadAt, Window};
use crate::error::Result;
use std::sync::Arc;
/// Place
pub enum Place {
    /// a
    Auto,
    /// b
    Offset(u64),
    /// c
    Partition(u32),
}
/// Located
pub struct Located {
    /// a
    pub source: Window<Arc<dyn ReadAt>>,
    /// b
    pub start: u64,
    /// c
    pub partition: Option<u32>,
    /// d
    pub note: Option<String>,
}
/// locate
pub fn locate(
    source: Arc<dyn ReadAt>,
    place: Place,
    _probe: &dyn Fn(&dyn ReadAt) -> Option<String>,
) -> Result<Located> {
    let start = match place {
        Place::Offset(o) => o,
        _ => 0,
    };
    Ok(Located {
        source: Window::from(source, start),
        start,
        partition: None,
        note: None,
    })
}
