//! Parquet: the table in columns, zstd, a row group each 65,536 rows or 32 MiB of text. What is held is a row group.
//!
//! Texts go through dictionaries: a container's names, a call's name and many an argument stand once in a row group.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::{
        parser::parse_message_type,
        types::{ColumnPath, Type},
    },
};

use super::{
    Export,
    row::{COLUMNS, Cell, Kind, Row},
};
use crate::event::{Descriptors, Event};

/// Most rows of a row group.
const ROWS: usize = 65_536;
/// Bytes of text after which a row group ends.
const BYTES: usize = 32 << 20;

pub(super) struct Parquet<W: Write + Send> {
    to: SerializedFileWriter<W>,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
    descriptors: Descriptors,
}

/// A row group's values of a column.
struct Values {
    /// For each row 1, or 0 where it has none.
    there: Vec<i16>,
    list: List,
}

enum List {
    /// One after the other, and where each ends.
    Text {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    Int(Vec<i32>),
    Long(Vec<i64>),
    Flag(Vec<bool>),
}

impl Values {
    fn new(kind: Kind) -> Self {
        let list = match kind {
            Kind::Text | Kind::Json => List::Text {
                bytes: Vec::new(),
                ends: Vec::new(),
            },
            Kind::Int => List::Int(Vec::new()),
            Kind::Long | Kind::Time => List::Long(Vec::new()),
            Kind::Flag => List::Flag(Vec::new()),
        };
        Self {
            there: Vec::new(),
            list,
        }
    }

    /// Adds a row's; returns its bytes of text. A cell of another kind than the column's is left out.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        let length = match (&mut self.list, cell) {
            (List::Text { bytes, ends }, Cell::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len());
                Some(text.len())
            }
            (List::Int(list), Cell::Number(number)) => {
                list.push(i32::try_from(*number).unwrap_or(i32::MAX));
                Some(0)
            }
            (List::Long(list), Cell::Number(number)) => {
                list.push(*number);
                Some(0)
            }
            (List::Flag(list), Cell::Flag(flag)) => {
                list.push(*flag);
                Some(0)
            }
            _ => None,
        };
        self.there.push(i16::from(length.is_some()));
        length.unwrap_or(0)
    }

    /// Writes them and begins anew.
    fn write(&mut self, to: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let there = Some(self.there.as_slice());
        match (&mut self.list, to) {
            (List::Text { bytes, ends }, ColumnWriter::ByteArrayColumnWriter(to)) => {
                let all = ByteArray::from(std::mem::take(bytes));
                let mut from = 0;
                let cut = |end: usize| {
                    let text = all.slice(from, end - from);
                    from = end;
                    text
                };
                let values: Vec<_> = ends.drain(..).map(cut).collect();
                to.write_batch(&values, there, None)?;
            }
            (List::Int(list), ColumnWriter::Int32ColumnWriter(to)) => {
                to.write_batch(list, there, None)?;
                list.clear();
            }
            (List::Long(list), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(list, there, None)?;
                list.clear();
            }
            (List::Flag(list), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(list, there, None)?;
                list.clear();
            }
            _ => {
                return Err(ParquetError::General(
                    "a column has another type than its values".into(),
                ));
            }
        }
        self.there.clear();
        Ok(())
    }
}

impl<W: Write + Send> Parquet<W> {
    /// Writes what the file begins with.
    pub(super) fn begin(to: W, descriptors: Descriptors) -> io::Result<Self> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("container-tracer ", env!("CARGO_PKG_VERSION")).into());
        // Each is another one: a dictionary would hold all of them for nothing.
        for (name, kind) in COLUMNS {
            let column = || ColumnPath::from(*name);
            if matches!(kind, Kind::Json | Kind::Long | Kind::Time) {
                properties = properties.set_column_dictionary_enabled(column(), false);
            }
            // Times and sequence numbers grow by little.
            if matches!(kind, Kind::Long | Kind::Time) {
                properties = properties.set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED);
            }
        }
        let to = SerializedFileWriter::new(to, Arc::new(schema()?), Arc::new(properties.build()))?;
        Ok(Self {
            to,
            columns: COLUMNS.iter().map(|(_, kind)| Values::new(*kind)).collect(),
            rows: 0,
            bytes: 0,
            descriptors,
        })
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.to.next_row_group()?;
        for values in &mut self.columns {
            let mut column = group
                .next_column()?
                .ok_or_else(|| io::Error::other("the table has more columns than its schema"))?;
            values.write(column.untyped())?;
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl<W: Write + Send> Export for Parquet<W> {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        let row = Row::of(event, self.descriptors);
        for (values, cell) in self.columns.iter_mut().zip(row.cells()) {
            self.bytes += values.push(cell);
        }
        self.rows += 1;
        if self.rows >= ROWS || self.bytes >= BYTES {
            self.end_group()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end_group()?;
        self.to.finish()?;
        self.to.inner_mut().flush()
    }
}

/// The columns as Parquet's message language has them. All are optional: a row has what its event has.
fn schema() -> io::Result<Type> {
    let mut text = String::from("message events {\n");
    for (name, kind) in COLUMNS {
        text += &match kind {
            Kind::Text => format!("OPTIONAL BYTE_ARRAY {name} (STRING);\n"),
            Kind::Json => format!("OPTIONAL BYTE_ARRAY {name} (JSON);\n"),
            Kind::Int => format!("OPTIONAL INT32 {name};\n"),
            Kind::Long => format!("OPTIONAL INT64 {name};\n"),
            Kind::Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(NANOS,true));\n"),
            Kind::Flag => format!("OPTIONAL BOOLEAN {name};\n"),
        };
    }
    text += "}";
    Ok(parse_message_type(&text)?)
}
