//! Looking at jobs.

use sqlx::{QueryBuilder, Sqlite};
use ulid::Ulid;

use super::{Job, JobError, JobKind, JobState, Jobs, record};
use crate::identity::Viewer;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Only those of this kind.
    pub kind: Option<JobKind>,
    /// Only those in this state.
    pub state: Option<JobState>,
    /// At most this many; 0 means the default.
    pub page_size: u32,
    /// Of the page before.
    pub page_token: Option<String>,
}

/// A part of the list of jobs, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub items: Vec<Job>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

impl Jobs {
    /// A page of the jobs that the viewer may see.
    pub async fn list(&self, viewer: &Viewer, query: &JobQuery) -> Result<JobPage, JobError> {
        let size = match query.page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM jobs WHERE true");
        if let Viewer::Project(project) = viewer {
            sql.push(" AND project_id = ").push_bind(project);
        }
        if let Some(kind) = query.kind {
            sql.push(" AND kind = ").push_bind(kind.as_str());
        }
        if let Some(state) = query.state {
            sql.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(token) = query.page_token.as_deref().filter(|token| !token.is_empty()) {
            let before: Ulid = token.parse().map_err(|_| JobError::BadPageToken)?;
            sql.push(" AND id < ").push_bind(before.to_string());
        }
        sql.push(" ORDER BY id DESC LIMIT ").push_bind(size + 1);
        let rows = sql.build().fetch_all(&self.0.db).await?;
        let mut items = rows
            .iter()
            .map(|row| record::from_row(row).map(|job| self.0.fresh(job)))
            .collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > size as usize;
        items.truncate(size as usize);
        let next_page_token = items.last().filter(|_| more).map(|job| job.id.clone());
        Ok(JobPage {
            items,
            next_page_token,
        })
    }

    /// One job. What the viewer may not see is not there.
    pub async fn get(&self, viewer: &Viewer, id: &str) -> Result<Job, JobError> {
        let project = match viewer {
            Viewer::All => None,
            Viewer::Project(project) => Some(project.as_str()),
        };
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?1 AND (?2 IS NULL OR project_id = ?2)")
            .bind(id)
            .bind(project)
            .fetch_optional(&self.0.db)
            .await?;
        match row {
            Some(row) => Ok(self.0.fresh(record::from_row(&row)?)),
            None => Err(JobError::NotFound { id: id.to_owned() }),
        }
    }
}
