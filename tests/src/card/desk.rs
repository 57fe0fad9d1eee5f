//! Where all changes pass, one at a time: the books after the change are judged, the server is made to see what they say,
//! they are written down, and only then is the caller answered. When the server can't be made to, nothing has changed.

use std::path::PathBuf;
use std::sync::Arc;

use imprint_proto::opi::VolumeStats;
use tokio::sync::Mutex;
use tonic::{Response, Status};

use super::books::{Books, Resource};
use super::faults::Faults;
use super::names;
use super::present::Presenter;
use super::wanted::{Layout, wanted};

/// The card's desk; its services are clones of it.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whose turn it is to change something; readers don't wait for a server.
    turn: Mutex<()>,
    books: Mutex<Books>,
    layout: Layout,
    presenter: Option<Presenter>,
    state: Option<PathBuf>,
    faults: Faults,
}

impl Desk {
    /// With books that were loaded.
    pub fn new(
        books: Books,
        layout: Layout,
        presenter: Option<Presenter>,
        state: Option<PathBuf>,
        faults: Faults,
    ) -> Self {
        Self(Arc::new(Inner {
            turn: Mutex::new(()),
            books: Mutex::new(books),
            layout,
            presenter,
            state,
            faults,
        }))
    }

    /// Whether the storage is gone.
    pub fn storage_is_lost(&self) -> bool {
        *self.0.faults.lost().borrow()
    }

    /// A copy of the books.
    pub async fn books(&self) -> Books {
        self.0.books.lock().await.clone()
    }

    /// Makes a resource, or answers the same one that is there (AIP-133).
    pub async fn create<R: Resource>(
        &self,
        parent: Option<&str>,
        id: String,
        asked: Option<R>,
    ) -> Result<Response<R>, Status> {
        let Some(asked) = asked else {
            return Err(Status::invalid_argument("the request has no body"));
        };
        let name = names::name(parent, R::COLLECTION, &names::id(id)?);
        asked.check()?;
        let asked = asked.asked();
        let parent = parent.map(str::to_owned);
        let inner = Arc::clone(&self.0);
        let created = to_the_end(async move {
            let _turn = inner.turn.lock().await;
            let mut books = inner.books.lock().await.clone();
            if let Some(parent) = parent.filter(|parent| !books.has(parent)) {
                return Err(missing(&parent));
            }
            if let Some(there) = R::shelf(&books).get(&name) {
                return match there.clone().asked() == asked {
                    true => Ok(there.clone()),
                    false => Err(Status::already_exists(format!(
                        "{name} is there, and not the same"
                    ))),
                };
            }
            let made = asked.named(name.clone());
            R::shelf_mut(&mut books).insert(name, made.clone());
            inner.replace(books).await?;
            Ok(made)
        });
        created.await.map(Response::new)
    }

    /// Takes a resource away that nothing else hangs on.
    pub async fn delete<R: Resource>(&self, name: &str, allow_missing: bool) -> Result<Response<()>, Status> {
        let name = name.to_owned();
        let inner = Arc::clone(&self.0);
        let deleted = to_the_end(async move {
            let _turn = inner.turn.lock().await;
            let mut books = inner.books.lock().await.clone();
            if R::shelf_mut(&mut books).remove(&name).is_none() {
                return if allow_missing {
                    Ok(())
                } else {
                    Err(missing(&name))
                };
            }
            if let Some(below) = books.below(&name) {
                return Err(Status::failed_precondition(format!("{name} has {below}")));
            }
            inner.replace(books).await
        });
        deleted.await.map(Response::new)
    }

    /// One resource.
    pub async fn get<R: Resource>(&self, name: &str) -> Result<R, Status> {
        let books = self.0.books.lock().await;
        R::shelf(&books).get(name).cloned().ok_or_else(|| missing(name))
    }

    /// A page of a kind of resource.
    pub async fn list<R: Resource>(
        &self,
        parent: Option<&str>,
        size: i32,
        token: &str,
    ) -> Result<(Vec<R>, String), Status> {
        let books = self.0.books.lock().await;
        if let Some(parent) = parent.filter(|parent| !books.has(parent)) {
            return Err(missing(parent));
        }
        names::page(R::shelf(&books), parent, size, token)
    }

    /// What a resource has carried, which this card does not count: it has to be there, though.
    pub async fn stats<R: Resource>(&self, name: &str) -> Result<Option<VolumeStats>, Status> {
        self.get::<R>(name).await.map(|_| Some(VolumeStats::default()))
    }
}

impl Inner {
    async fn replace(&self, next: Books) -> Result<(), Status> {
        let after = wanted(&next, &self.layout)?;
        if let Some(presenter) = &self.presenter {
            let before = wanted(&*self.books.lock().await, &self.layout)?;
            if before != after
                && let Err(refused) = presenter.show(after).await
            {
                // What the server did see, it shall see again.
                presenter.show(before).await.unwrap_or_else(|error| {
                    eprintln!("the server does not see what it saw before: {}", error.message());
                });
                return Err(refused);
            }
        }
        if let Some(file) = &self.state {
            next.save(file)
                .map_err(|error| Status::internal(format!("{error:#}")))?;
        }
        *self.books.lock().await = next;
        Ok(())
    }
}

/// A change is done to its end, also when its caller has stopped waiting: books and server would differ otherwise.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let ended = tokio::spawn(change).await;
    ended.map_err(|error| Status::internal(format!("the change has died: {error}")))?
}

fn missing(name: &str) -> Status {
    Status::not_found(format!("there is no {name}"))
}
