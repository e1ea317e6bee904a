//! The stream that a snapshot is: records, each with its length, and the sum of all.

use std::io::{self, Read, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::codec::{CONFIG, fill};
use super::super::id::Digest;
use super::super::limits::RECORD_BYTES_MAX;
use super::{Error, Record};

/// Hashes whatever it writes.
pub(super) struct Writer<'a, W> {
    out: &'a mut W,
    hash: Sha256,
    scratch: Vec<u8>,
    records: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self { out, hash: Sha256::new(), scratch: Vec::new(), records: 0 }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    pub(super) fn record(&mut self, mut record: Record) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend([0; 4]);
        bincode::serde::encode_into_std_write(&record, &mut scratch, CONFIG).map_err(io::Error::other)?;
        let collected = record.each_body_mut(&mut |body, _| {
            scratch.extend_from_slice(body.bytes());
            Ok(())
        });
        collected.map_err(io::Error::other)?;
        let len = scratch.len() - 4;
        if len > RECORD_BYTES_MAX {
            return Err(io::Error::other("a record is over its bound"));
        }
        scratch[..4].copy_from_slice(&(len as u32).to_le_bytes());
        self.write(&scratch)?;
        self.scratch = scratch;
        self.records += 1;
        Ok(())
    }

    pub(super) fn all(&mut self, mut records: impl Iterator<Item = Record>) -> io::Result<()> {
        records.try_for_each(|record| self.record(record))
    }

    /// How many records were written so far.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn finish(self) -> io::Result<Digest> {
        let sum: [u8; 32] = self.hash.finalize().into();
        self.out.write_all(&sum)?;
        Ok(Digest::from_bytes(sum))
    }
}

/// Hashes whatever it reads.
pub(super) struct Reader<'a, R> {
    input: &'a mut R,
    hash: Sha256,
}

impl<'a, R: Read> Reader<'a, R> {
    pub(super) fn new(input: &'a mut R) -> Self {
        Self { input, hash: Sha256::new() }
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    pub(super) fn record(&mut self) -> Result<Record, Error> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > RECORD_BYTES_MAX {
            return Err(Error::Corrupt("a record is over its bound"));
        }
        let mut bytes = vec![0; len];
        self.read(&mut bytes)?;
        let mut bytes = Bytes::from(bytes);
        let (mut record, read): (Record, usize) = bincode::serde::borrow_decode_from_slice(&bytes, CONFIG)
            .map_err(|_| Error::Corrupt("malformed record"))?;
        let mut payload = bytes.split_off(read);
        record
            .each_body_mut(&mut |body, len_max| fill(body, len_max, &mut payload))
            .map_err(|_| Error::Corrupt("a body that does not fit its record"))?;
        if payload.is_empty() { Ok(record) } else { Err(Error::Corrupt("trailing bytes in a record")) }
    }

    pub(super) fn check(self) -> Result<(), Error> {
        let mut sum = [0; 32];
        self.input.read_exact(&mut sum)?;
        if self.hash.finalize()[..] == sum { Ok(()) } else { Err(Error::Checksum) }
    }
}
