//! The data that a call moved through its descriptor, where a reader asked for it.

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of the descriptor.
    Read,
    /// Into it.
    Write,
}

/// The data of a call, as much of it as was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub buffers: Vec<Buffer>,
    /// How many buffers each of its messages has, of a call that moves several messages.
    pub messages: Option<Vec<u64>>,
    /// There are more buffers than were taken.
    pub cut: bool,
}

/// One buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Number of its message, of a call that moves several.
    pub message: Option<u32>,
    /// Its place in the vector, of a call that has one.
    pub index: Option<u32>,
    /// Bytes that it holds.
    pub len: u64,
    /// The first of them: all, where nothing is missing.
    pub bytes: Vec<u8>,
    /// The rest was not in memory; else there was no room for it.
    pub fault: bool,
}

impl Buffer {
    /// Bytes that were not taken.
    pub fn missing(&self) -> u64 {
        self.len.saturating_sub(self.bytes.len() as u64)
    }
}

impl Data {
    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        !self.cut && self.buffers.iter().all(|buffer| buffer.missing() == 0)
    }
}
