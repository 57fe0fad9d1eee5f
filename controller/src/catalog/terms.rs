//! What is refused of those who share, publish and pay for images.

use http::StatusCode;

use super::{CatalogError, Source, Visibility};
use crate::{
    api::rest::problem::{Problem, sentence},
    events::DatabaseError,
};

/// Why an image is not shared, published or used.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// Everybody may use it already.
    #[error("image `{name}` is public: every project may use it")]
    Public {
        /// The image.
        name: String,
    },
    /// It is published.
    #[error("image `{name}` is published ({visibility}), and a published image is not shared")]
    Published {
        /// The image.
        name: String,
        /// How it is published.
        visibility: Visibility,
    },
    /// Nobody else has its key.
    #[error("image `{name}` is encrypted, and an encrypted image is not shared")]
    Encrypted {
        /// The image.
        name: String,
    },
    /// Full machines hold what their owner may have forgotten; only backups are made to be handed on.
    #[error(
        "image `{name}` is a full machine that comes from {source_word}, and only those of a backup are shared"
    )]
    NotFromBackup {
        /// The image.
        name: String,
        /// Where it comes from.
        source_word: Source,
    },
    /// It belongs to another region.
    #[error("image `{name}` belongs to region {theirs}, and this controller shares in region {ours}")]
    OtherRegion {
        /// The image.
        name: String,
        /// Where it can be used.
        theirs: String,
        /// Where this controller is.
        ours: String,
    },
    /// The owner needs no invitation.
    #[error("image `{name}` belongs to the project {project} itself")]
    Owner {
        /// The image.
        name: String,
        /// The project.
        project: String,
    },
    /// It is shared with as many as may be.
    #[error(
        "image `{name}` can be shared with {limit} projects, has {have}, and {asked} more were asked for"
    )]
    TooManyMembers {
        /// The image.
        name: String,
        /// Projects it is shared with.
        have: usize,
        /// Further ones.
        asked: usize,
        /// What the configuration allows.
        limit: usize,
    },
    /// There is no such project, or the caller may not know of it.
    #[error("there is no project `{wanted}`")]
    NoProject {
        /// What was asked for.
        wanted: String,
    },
    /// The image is not shared with the project.
    #[error("image `{name}` is not shared with the project {project}")]
    NoMember {
        /// The image.
        name: String,
        /// The project.
        project: String,
    },
    /// Only the one who is invited answers.
    #[error("the invitation is the project {project}'s to answer")]
    NotInvited {
        /// The invited project.
        project: String,
    },
    /// Members answer with one of two words.
    #[error("an invitation is answered with accepted or rejected")]
    NoAnswer,
    /// It was offered, and nobody has said yes.
    #[error("image `{name}` is offered to the project {project}, which has {}", if *rejected { "rejected it" } else { "not accepted it yet" })]
    NotAccepted {
        /// Id of the image.
        id: String,
        /// The image.
        name: String,
        /// The project.
        project: String,
        /// It said no.
        rejected: bool,
    },
    /// It is paid for, and this project may not use it.
    #[error("image `{name}` costs {price}, and the project {project} has no entitlement to it")]
    NeedsEntitlement {
        /// The image.
        name: String,
        /// The price, in words.
        price: String,
        /// The project.
        project: String,
    },
    /// It has no entitlement.
    #[error("the project {project} has no entitlement to image `{name}`")]
    NoEntitlement {
        /// The image.
        name: String,
        /// The project.
        project: String,
    },
    /// It is not fit to be published, for all these reasons.
    #[error("image `{name}` cannot become {wanted}: {}", reasons.join("; "))]
    NotFit {
        /// The image.
        name: String,
        /// What it was to be.
        wanted: Visibility,
        /// What is missing.
        reasons: Vec<String>,
        /// What to do about each of them.
        remedies: Vec<String>,
    },
    /// Only administrators may.
    #[error("only an administrator makes images public, and takes that back")]
    NotAdmin,
    /// It is not published.
    #[error("image `{name}` is {visibility}, not published")]
    NotPublished {
        /// The image.
        name: String,
        /// What it is.
        visibility: Visibility,
    },
    /// There is nothing between the two times.
    #[error("the time span ends before it begins")]
    Backwards,
    /// The catalogue refuses.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The database did not answer.
    #[error(transparent)]
    Change(#[from] DatabaseError),
}

impl From<sqlx::Error> for TermsError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl From<TermsError> for Problem {
    fn from(error: TermsError) -> Self {
        let detail = sentence(&error.to_string());
        let conflict = |kind, title, remedy: String| {
            Self::new(StatusCode::CONFLICT, kind, title, detail.clone(), remedy)
        };
        let forbidden = |kind, title, remedy: String| {
            Self::new(StatusCode::FORBIDDEN, kind, title, detail.clone(), remedy)
        };
        let missing = |kind, title, remedy: String| {
            Self::new(StatusCode::NOT_FOUND, kind, title, detail.clone(), remedy)
        };
        let wrong = |kind, title, remedy: String| {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                kind,
                title,
                detail.clone(),
                remedy,
            )
        };
        match error {
            TermsError::Catalog(error) => error.into(),
            TermsError::Change(error) => error.into(),
            TermsError::Public { .. } => conflict(
                "image-is-public",
                "The image is public",
                "Nothing has to be done: every project deploys it as it is.".to_owned(),
            ),
            TermsError::Published { name, .. } => conflict(
                "image-is-published",
                "The image is published",
                format!("Take it back first, `imprint image unpublish {name}`; or copy it, `imprint image copy {name}`, and share the copy."),
            ),
            TermsError::Encrypted { name } => conflict(
                "image-is-encrypted",
                "The image is encrypted",
                format!("Share a copy that is not encrypted: `imprint image copy {name} --name NAME --decrypt`, then `imprint image share NAME PROJECT`."),
            ),
            TermsError::NotFromBackup { name, .. } => conflict(
                "full-machine-not-from-backup",
                "Only full machines of a backup are shared",
                format!("Share its disks as images of their own (`imprint image list --q {name}` finds what it was made of), or a full machine whose source is backup-vault."),
            ),
            TermsError::OtherRegion { name, ours, .. } => wrong(
                "image-in-other-region",
                "The image belongs to another region",
                format!("Sharing is within a region. Copy the image first, `imprint image copy {name} --region {ours}`, and share the copy."),
            ),
            TermsError::Owner { .. } => wrong(
                "owner-needs-no-invitation",
                "The image is the project's own",
                "Name other projects.".to_owned(),
            ),
            TermsError::TooManyMembers { name, .. } => conflict(
                "too-many-members",
                "The image is shared with too many projects",
                format!("Stop sharing it with somebody, `imprint image unshare {name} PROJECT`, or let an operator raise `images.max_members` in the configuration."),
            ),
            TermsError::NoProject { .. } => missing(
                "project-not-found",
                "There is no such project",
                "Other projects are named by id: ask them for it, `imprint whoami` shows theirs.".to_owned(),
            ),
            TermsError::NoMember { name, .. } => missing(
                "member-not-found",
                "The image is not shared with this project",
                format!("`imprint image members {name}` shows whom it is shared with (API: GET /v1/images/{{image}}/members)."),
            ),
            TermsError::NotInvited { .. } => conflict(
                "not-your-invitation",
                "The invitation is somebody else's",
                "Let a member of that project answer: `imprint image accept IMAGE`.".to_owned(),
            ),
            TermsError::NoAnswer => Self::invalid(detail, "Send {\"state\": \"accepted\"} or {\"state\": \"rejected\"}."),
            TermsError::NotAccepted { id, .. } => conflict(
                "image-not-accepted",
                "The project has not accepted the image",
                format!("Accept it first: `imprint image accept {id}`; `imprint image invitations` shows whose it is."),
            ),
            TermsError::NeedsEntitlement { name, project, .. } => forbidden(
                "image-needs-entitlement",
                "The image has to be paid for",
                format!("Ask its publisher for an entitlement; the publisher or an administrator gives it: `imprint image entitle {name} {project}`."),
            ),
            TermsError::NoEntitlement { name, .. } => missing(
                "entitlement-not-found",
                "There is no such entitlement",
                format!("`imprint image entitlements {name}` shows who has one."),
            ),
            TermsError::NotFit { remedies, .. } => {
                conflict("image-not-publishable", "The image cannot be published", remedies.join(" "))
            }
            TermsError::NotAdmin => forbidden(
                "forbidden",
                "The token may not do this",
                "Ask an administrator; or publish for the community, without anybody's promise: `imprint image publish IMAGE --to community`.".to_owned(),
            ),
            TermsError::NotPublished { .. } => conflict(
                "image-not-published",
                "The image is not published",
                "Nothing has to be taken back; `imprint image unshare` ends sharing.".to_owned(),
            ),
            TermsError::Backwards => Self::invalid(detail, "Give a later `to`, or an earlier `from`."),
        }
    }
}
