//! The blocking part of an import: detection, the reader of the format, and the writer.
//!
//! A raw disk, and an installation medium, is imported while it arrives. Every other format goes into a nameless file
//! first: a qcow2 is not in disk order, and of a compressed file the end is looked at before the beginning is believed.
//! Such files are much smaller than their disks. So does what is declared as a VHD: a fixed one is a raw disk but for its
//! end. A file that was uploaded in pieces is there already and is read where it is.
//!
//! The readers are not put into a process of their own. They are safe Rust over bounded tables, and take no other file
//! than the one they are given: there is no memory to corrupt and no path to follow, which is what a sandbox would be
//! against. What is left is time, memory and space, and these are bounded here: by the caps on the disk, on what a
//! compressed file becomes, on the buffers of the writer, on the time, and by what the project may keep.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, Write},
    sync::Arc,
};

use imprint_image::{
    Digest, Manifest,
    seal::Seal,
    source::{self, Format, ImageSource, Limits, SourceError, Stream},
    write::{ArtifactWriter, ImportProgress, KnownChunk, WriteOptions},
};
use tokio::runtime::Handle;

use super::{
    ImportError, Inner,
    bytes::{Metered, Origin},
    quota::Reservation,
    request::Declared,
    sink::StoreSink,
    stop::Stop,
};
use crate::{
    catalog::{ImageKind, KnownChunks},
    jobs::JobContext,
};

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
    pub(super) declared: Declared,
    pub(super) length: Option<u64>,
    pub(super) stop: Stop,
    pub(super) context: JobContext,
    pub(super) reservation: Reservation,
}

impl Conversion {
    /// Gives the manifest of the image and the format that it had.
    pub(super) fn run(&self, origin: Origin) -> Result<(Manifest, Format), ImportError> {
        let (manifest, format) = match origin {
            Origin::Stream(stream) => self.of_stream(self.metered(stream))?,
            Origin::File(file) => self.of_file(file)?,
        };
        self.require_size(manifest.disk_size_bytes)?;
        Ok((manifest, format))
    }

    fn of_stream<R: Read + Send>(&self, mut file: Metered<R>) -> Result<(Manifest, Format), ImportError> {
        let mut head = Vec::new();
        (&mut file)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .map_err(ImportError::from_source)?;
        let format = source::detect(&head);
        self.require_medium(format)?;
        let agrees = self.declared.format.is_none_or(|declared| declared == format);
        let fixed_vhd = format == Format::Raw && self.declared.format == Some(Format::Vhd);
        if matches!(format, Format::Raw | Format::Iso) && agrees && !head.is_empty() {
            let mut rest = Cursor::new(head).chain(&mut file);
            let manifest = self.write(&mut Stream::new(&mut rest), "imports")?;
            self.require_digest(file.digest())?;
            return Ok((manifest, format));
        }
        let spooled = if format.is_supported() && (agrees || fixed_vhd) {
            self.inner.store.require_space(self.length.unwrap_or(0))?;
            let spooled = self.spool(&head, &mut file)?;
            self.require_digest(file.digest())?;
            spooled
        } else {
            // Refused for what the head says already; the reader knows the words for it.
            let mut spooled = self.spool_file()?;
            spooled.write_all(&head).map_err(ImportError::Spool)?;
            spooled
        };
        self.of_container(spooled)
    }

    fn of_file(&self, mut file: File) -> Result<(Manifest, Format), ImportError> {
        if self.declared.sha256.is_some() {
            let mut all = self.metered(&file);
            let mut buffer = vec![0; COPY_BYTES];
            while all.read(&mut buffer).map_err(ImportError::from_source)? > 0 {
                all.tell("checks the digest");
                self.go_on()?;
            }
            self.require_digest(all.digest())?;
            file.rewind().map_err(ImportError::Spool)?;
        }
        let format = source::detect_file(&mut file)?;
        self.require_medium(format)?;
        if format == Format::Iso && self.declared.format.is_none_or(|declared| declared == format) {
            file.rewind().map_err(ImportError::Spool)?;
            return Ok((self.write(&mut Stream::new(&mut &file), "imports")?, format));
        }
        self.of_container(file)
    }

    fn of_container(&self, file: File) -> Result<(Manifest, Format), ImportError> {
        let limits = Limits {
            max_disk_bytes: self.max_disk_bytes(),
            max_ratio: self.inner.config.max_ratio,
        };
        let mut opened = source::open(file, self.declared.format, &limits)?;
        if let Some(bytes) = opened.source.disk_size_bytes() {
            self.require_size(bytes)?;
        }
        Ok((self.write(opened.source.as_mut(), "converts")?, opened.format))
    }

    fn write(&self, disk: &mut dyn ImageSource, step: &str) -> Result<Manifest, ImportError> {
        let sink = StoreSink {
            inner: self.inner.clone(),
            runtime: self.runtime.clone(),
            import_id: self.import_id.clone(),
            reservation: self.reservation.clone(),
        };
        let chunks = KnownChunks::new(self.inner.catalog.clone(), &self.project_id, &self.import_id);
        let known = |plain: &Digest| self.known(&chunks, plain);
        let tell = |progress: &ImportProgress| {
            let total = progress.disk_size_bytes.or(self.length).unwrap_or(0);
            self.context.progress(step, progress.disk_bytes, total);
        };
        let options = WriteOptions {
            known: &known,
            seal: self.seal.as_ref(),
            progress: Some(&tell),
            cancel: Some(self.stop.flag()),
            logical_sector_bytes: self.declared.sector,
            max_disk_bytes: self.max_disk_bytes(),
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

    fn spool<R: Read>(&self, head: &[u8], rest: &mut Metered<R>) -> Result<File, ImportError> {
        let mut file = self.spool_file()?;
        file.write_all(head).map_err(ImportError::Spool)?;
        let (mut buffer, mut since_check) = (vec![0; COPY_BYTES], 0);
        loop {
            self.go_on()?;
            let got = match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ImportError::from_source(error)),
            };
            file.write_all(&buffer[..got]).map_err(ImportError::Spool)?;
            rest.tell("receives");
            since_check += got as u64;
            if since_check >= SPACE_CHECK_BYTES {
                self.inner.store.require_space(0)?;
                since_check = 0;
            }
        }
        Ok(file)
    }

    fn spool_file(&self) -> Result<File, ImportError> {
        tempfile::tempfile_in(&self.inner.spool).map_err(ImportError::Spool)
    }

    fn metered<R: Read>(&self, from: R) -> Metered<R> {
        Metered::new(
            from,
            self.inner.config.max_file_bytes,
            self.declared.sha256.is_some(),
            self.context.clone(),
            self.length.unwrap_or(0),
        )
    }

    fn go_on(&self) -> Result<(), ImportError> {
        self.stop.error().map_or(Ok(()), Err)
    }

    fn max_disk_bytes(&self) -> u64 {
        let config = &self.inner.config;
        match self.declared.kind {
            ImageKind::SystemDisk | ImageKind::FullMachine => config.system_disk_max_bytes,
            ImageKind::DataDisk => config.data_disk_max_bytes,
            ImageKind::Iso => config.iso_max_bytes,
        }
    }

    fn require_size(&self, bytes: u64) -> Result<(), ImportError> {
        let least = match self.declared.kind {
            ImageKind::SystemDisk => self.inner.config.system_disk_min_bytes,
            _ => 0,
        };
        if bytes >= least {
            Ok(())
        } else {
            Err(ImportError::TooSmall { bytes, least })
        }
    }

    /// An installation medium is one kind of image, and everything else is another.
    fn require_medium(&self, format: Format) -> Result<(), ImportError> {
        let kind = self.declared.kind;
        // What was declared as another format is refused with both formats, by the reader.
        let undeclared = self.declared.format.is_none_or(|declared| declared == format);
        if undeclared && (format == Format::Iso) != (kind == ImageKind::Iso) {
            return Err(ImportError::Medium { kind, format });
        }
        Ok(())
    }

    fn require_digest(&self, got: Option<[u8; 32]>) -> Result<(), ImportError> {
        match (self.declared.sha256, got) {
            (Some(declared), Some(got)) if declared != got => Err(ImportError::Sha256 { declared, got }),
            _ => Ok(()),
        }
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
