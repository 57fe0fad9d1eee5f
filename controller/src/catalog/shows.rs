//! Which objects of the store somebody may read with an API token.

use sqlx::{QueryBuilder, Sqlite};

use super::{Catalog, CatalogError, find::push_visible};
use crate::{identity::Viewer, store::StoreObject};

impl Catalog {
    /// Whether the object belongs to an image that the viewer may see.
    pub async fn shows(&self, viewer: &Viewer, object: &StoreObject) -> Result<bool, CatalogError> {
        if *viewer == Viewer::All {
            return Ok(true);
        }
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT EXISTS (SELECT 1 FROM image_disks AS d");
        match object {
            StoreObject::Manifest(key) => {
                sql.push(" JOIN images ON images.id = d.image_id WHERE d.manifest = ")
                    .push_bind(key.to_string());
            }
            StoreObject::Pack(pack) => {
                sql.push(
                    " JOIN manifest_packs AS p ON p.manifest = d.manifest JOIN images ON images.id = d.image_id WHERE p.pack = ",
                )
                .push_bind(pack.to_string());
            }
        }
        sql.push(" AND");
        push_visible(&mut sql, viewer);
        sql.push(")");
        Ok(sql.build_query_scalar().fetch_one(&self.db).await?)
    }
}
