//! The blocking part of an import: detection, the reader of the format, and the writer.
//!
//! A raw disk is imported while it arrives. Every other format goes into a nameless file first: a qcow2 is not in disk
//! order, and of a compressed file the end is looked at before the beginning is believed. Such files are much smaller
//! than their disks. So does what is declared as a VHD: a fixed one is a raw disk but for its end.

use std::{
    fs::File,
    io::{self, Cursor, Read, Write},
    sync::{Arc, atomic::AtomicBool},
};

use imprint_image::{
    Digest, Manifest,
    seal::Seal,
    source::{self, Format, ImageSource, Limits, SourceError, Stream},
    write::{ArtifactWriter, KnownChunk, WriteOptions},
};
use tokio::runtime::Handle;

use crate::catalog::KnownChunks;

use super::{ImportError, Inner, body::BodyReader, sink::StoreSink};

/// Enough to tell every format.
const HEAD_BYTES: u64 = 64 << 10;
const COPY_BYTES: usize = 1 << 20;
/// How often the space on the disk is looked at while a file is spooled.
const SPACE_CHECK_BYTES: u64 = 256 << 20;

pub(super) struct Conversion {
    pub(super) inner: Arc<Inner>,
    pub(super) runtime: Handle,
    pub(super) import_id: String,
    pub(super) project_id: String,
    /// Encrypts the image.
    pub(super) seal: Option<Seal>,
    pub(super) declared: Option<Format>,
    pub(super) length: Option<u64>,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Conversion {
    /// Gives the manifest of the image and the format that it had.
    pub(super) fn run(&self, mut body: BodyReader) -> Result<(Manifest, Format), ImportError> {
        let mut head = Vec::new();
        (&mut body)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .map_err(ImportError::from_body)?;
        let format = source::detect(&head);
        let agrees = self.declared.is_none_or(|declared| declared == format);
        let fixed_vhd = format == Format::Raw && self.declared == Some(Format::Vhd);
        if format == Format::Raw && agrees && !head.is_empty() {
            let mut stream = Cursor::new(head).chain(body);
            return Ok((self.write(&mut Stream::new(&mut stream))?, format));
        }
        let file = if format.is_supported() && (agrees || fixed_vhd) {
            self.inner.store.require_space(self.length.unwrap_or(0))?;
            self.spool(Cursor::new(head).chain(body))?
        } else {
            // Refused for what the head says already; the reader knows the words for it.
            self.spool(Cursor::new(head))?
        };
        let mut opened = source::open(file, self.declared, &Limits::default())?;
        Ok((self.write(opened.source.as_mut())?, opened.format))
    }

    fn write(&self, disk: &mut dyn ImageSource) -> Result<Manifest, ImportError> {
        let sink = StoreSink {
            inner: self.inner.clone(),
            runtime: self.runtime.clone(),
            import_id: self.import_id.clone(),
        };
        let chunks = KnownChunks::new(self.inner.catalog.clone(), &self.project_id, &self.import_id);
        let known = |plain: &Digest| self.known(&chunks, plain);
        let options = WriteOptions {
            known: &known,
            seal: self.seal.as_ref(),
            cancel: Some(&self.cancelled),
            ..WriteOptions::default()
        };
        ArtifactWriter::new(sink, options)
            .import(disk)
            .map_err(ImportError::from_writer)
    }

    /// A chunk that cannot be looked up is stored again, which costs space and nothing else.
    fn known(&self, chunks: &KnownChunks, plain: &Digest) -> Option<KnownChunk> {
        self.runtime.block_on(chunks.find(plain)).unwrap_or_else(|error| {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "a chunk could not be looked up");
            None
        })
    }

    fn spool(&self, mut from: impl Read) -> Result<File, ImportError> {
        let mut file = tempfile::tempfile_in(&self.inner.spool).map_err(ImportError::Spool)?;
        let (mut buffer, mut since_check) = (vec![0; COPY_BYTES], 0);
        loop {
            let got = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ImportError::from_body(error)),
            };
            file.write_all(&buffer[..got]).map_err(ImportError::Spool)?;
            since_check += got as u64;
            if since_check >= SPACE_CHECK_BYTES {
                self.inner.store.require_space(0)?;
                since_check = 0;
            }
        }
        Ok(file)
    }
}

impl From<SourceError> for ImportError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Io(error) => Self::Spool(error),
            error => Self::Source(error),
        }
    }
}
