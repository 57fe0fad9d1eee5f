//! Packs come.

use std::{io::Cursor, sync::Arc};

use bytes::Bytes;
use imprint_image::{
    CHUNK_BYTES, Chunk, Digest, frame,
    pack::{PackEntry, read_index},
    write::KnownChunk,
};

use super::{Named, Transfers};
use crate::{copy::CopyFault, identity::Viewer, store::StoreObject};

impl Transfers {
    /// Takes a pack: proves that it is the one it is sent as, and that each of its frames is a chunk of the image.
    pub async fn put_pack(
        &self,
        viewer: &Viewer,
        id: &str,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<(), CopyFault> {
        let record = self.0.find(viewer, id).await?;
        let named = self.0.named(id, record.request.disks.len()).await?;
        self.0.store.require_space(bytes.len() as u64)?;
        let content = bytes.clone();
        let entries = tokio::task::spawn_blocking(move || prove(&content, digest, &named))
            .await
            .map_err(CopyFault::Task)??;
        {
            let _writing = self.0.store.writing().await;
            let object = StoreObject::Pack(digest);
            self.0
                .catalog
                .write_noted(&self.0.store, id, &object, bytes.clone())
                .await?;
        }
        for entry in &entries {
            let place = KnownChunk {
                pack: digest,
                pack_bytes: bytes.len() as u64,
                offset: entry.offset,
                frame: entry.frame,
                frame_bytes: entry.frame_bytes,
            };
            self.0.insert_place(id, &entry.plain, &place).await?;
        }
        self.0.touch(id).await
    }
}

/// The signature of the sender vouches for every frame; that they decode into what they should is found out here,
/// because we are about to sign for it ourselves.
fn prove(pack: &[u8], expected: Digest, named: &Arc<Named>) -> Result<Vec<PackEntry>, CopyFault> {
    let got = Digest::of(pack);
    if got != expected {
        return Err(CopyFault::PackDigest { expected, got });
    }
    let entries = read_index(&mut Cursor::new(pack)).map_err(CopyFault::Pack)?;
    let mut decoder = frame::Decoder::new().map_err(|error| CopyFault::Pack(error.into()))?;
    let mut plain = vec![0; CHUNK_BYTES as usize];
    for entry in &entries {
        let Some((digest, bytes)) = named.get(&entry.plain) else {
            return Err(CopyFault::Foreign);
        };
        if *digest != entry.frame || *bytes != entry.plain_bytes {
            return Err(CopyFault::Foreign);
        }
        let chunk = Chunk {
            index: 0,
            plain: entry.plain,
            frame: entry.frame,
            pack: 0,
            offset: entry.offset,
            frame_bytes: entry.frame_bytes,
        };
        let begin = usize::try_from(entry.offset).expect("the index was checked against the pack");
        let mut bytes = pack[begin..begin + entry.frame_bytes as usize].to_vec();
        frame::verify_and_decode(
            &mut bytes,
            &chunk,
            entry.plain_bytes as usize,
            &mut plain,
            &mut decoder,
        )
        .map_err(CopyFault::Frame)?;
    }
    Ok(entries)
}
