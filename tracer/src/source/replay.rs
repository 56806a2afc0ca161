//! Recorded records as a source, and the recorder that writes them: a header with the contract's version, then each
//! record behind its length. Plain on purpose; for tests and bug reports.

use std::{
    io::{self, BufRead, Read, Write},
    sync::mpsc::SyncSender,
};

use anyhow::{Context, Result, bail};
use tracer_common::{ABI_VERSION, record::MAX_RECORD};

use super::{Batch, Item};

const MAGIC: &[u8; 8] = b"tracerec";

/// Writes records.
pub struct Recorder<W: Write> {
    to: W,
}

impl<W: Write> Recorder<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        to.write_all(&ABI_VERSION.to_le_bytes())?;
        Ok(Self { to })
    }

    /// Writes the records of a batch.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        for record in batch.by_time() {
            self.to.write_all(&(record.len() as u32).to_le_bytes())?;
            self.to.write_all(record)?;
        }
        self.to.flush()
    }
}

/// Feeds a recording into the queue, as the ring's reader would.
///
/// # Errors
/// When the file is none of ours, of another version, or cut; what came before the cut has been fed.
pub fn feed<M>(mut from: impl BufRead, queue: &SyncSender<Item<M>>) -> Result<()> {
    let mut magic = [0; 8];
    from.read_exact(&mut magic)
        .context("read the recording's header")?;
    if &magic != MAGIC {
        bail!("this is no recording: it begins with other bytes");
    }
    let version = word(&mut from)?.context("the recording's header is cut")?;
    if version != ABI_VERSION {
        bail!("the recording has version {version}, this program reads version {ABI_VERSION}");
    }
    let mut batch = Batch::default();
    let mut record = Vec::new();
    let ended = loop {
        let len = match word(&mut from) {
            Ok(Some(len)) => len as usize,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        if len > MAX_RECORD {
            break Err(anyhow::anyhow!(
                "the recording is damaged: a record of {len} bytes"
            ));
        }
        record.resize(len, 0);
        if let Err(error) = from.read_exact(&mut record) {
            break Err(anyhow::Error::from(error).context("the recording is cut inside a record"));
        }
        batch.push(&record);
        if batch.is_full() && queue.send(Item::Records(std::mem::take(&mut batch))).is_err() {
            return Ok(());
        }
    };
    if !batch.is_empty() {
        let _nobody = queue.send(Item::Records(batch));
    }
    ended
}

/// The next length; `None` at the end.
fn word(from: &mut impl Read) -> Result<Option<u32>> {
    let mut bytes = [0; 4];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => bail!("the recording is cut inside a length"),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read the recording"),
        }
    }
    Ok(Some(u32::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn recording(records: &[&[u8]]) -> Vec<u8> {
        let mut batch = Batch::default();
        for record in records {
            batch.push(record);
        }
        let mut file = Vec::new();
        Recorder::new(&mut file).unwrap().write(&batch).unwrap();
        file
    }

    fn fed(file: &[u8]) -> (Result<()>, Vec<Vec<u8>>) {
        let (queue, taken) = sync_channel::<Item<()>>(16);
        let result = feed(file, &queue);
        drop(queue);
        let records = taken
            .into_iter()
            .flat_map(|item| match item {
                Item::Records(batch) => batch
                    .by_time()
                    .iter()
                    .map(|record| record.to_vec())
                    .collect::<Vec<_>>(),
                Item::Mark(()) => Vec::new(),
            })
            .collect();
        (result, records)
    }

    #[test]
    fn what_was_recorded_is_fed() {
        let (result, records) = fed(&recording(&[b"one", b"", b"three"]));
        result.unwrap();
        assert_eq!(records, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_cut_recording_feeds_what_is_whole_and_says_where_it_ends() {
        let file = recording(&[b"whole", b"cut off"]);
        let (result, records) = fed(&file[..file.len() - 3]);
        assert_eq!(records, [b"whole"]);
        assert!(result.unwrap_err().to_string().contains("cut"));
    }

    #[test]
    fn another_file_or_version_is_refused() {
        assert!(
            fed(b"not a recording at all")
                .0
                .unwrap_err()
                .to_string()
                .contains("no recording")
        );
        let mut file = recording(&[]);
        file[8] ^= 0xff;
        assert!(fed(&file).0.unwrap_err().to_string().contains("version"));
    }
}
