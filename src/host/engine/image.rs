// SPDX-License-Identifier: GPL-2.0-or-later

//! Getting an image into the engine: from a registry, or from a file of this host.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::body_try_stream;
use bollard::errors::Error as Answer;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::db::value::ImageRef;
use crate::host::Error as HostError;
use crate::host::engine::{Engine, Error};
use crate::state::ImageSource;

/// For each sign of life of a pull or a load, which are limited by silence and not by their whole
/// time, when nobody says otherwise.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// Bytes that are read of a file at a time.
const CHUNK: usize = 256 * 1024;

impl Engine {
    /// Gets the image unless the engine has it.
    pub(crate) async fn ensure_image(
        &self,
        image: &ImageRef,
        source: &ImageSource,
    ) -> Result<(), HostError> {
        let inspect = self.client().inspect_image(image.as_str());
        if self.call("inspect image", self.limit, inspect).await?.is_some() {
            return Ok(());
        }
        match source {
            ImageSource::Registry => self.pull(image).await,
            ImageSource::Archive(path) => self.load(image, path).await,
            ImageSource::Rootfs(path) => self.import(image, path).await,
            ImageSource::Unknown(word) => {
                let how = format!("by Source {word}");
                Err(Self::no_image(image, how, "this version cannot build it".to_owned()))
            }
        }
    }

    fn no_image(image: &ImageRef, how: String, message: String) -> HostError {
        let source = Box::new(Error::NoImage { image: image.clone(), how, message });
        HostError::Engine { doing: format!("get image {image}"), source }
    }

    async fn pull(&self, image: &ImageRef) -> Result<(), HostError> {
        let options =
            CreateImageOptionsBuilder::default().from_image(image.with_tag().as_str()).build();
        let answers = self.client().create_image(Some(options), None, None);
        let how = "from its registry".to_owned();
        self.follow(image, &how, &Pulse::new(), answers).await?;
        self.is_here(image, how, "the engine says that it has got it, and does not have it").await
    }

    async fn load(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let pulse = Pulse::new();
        let body = body_try_stream(chunks(Self::open(image, &how, path)?, pulse.clone()));
        let options = ImportImageOptionsBuilder::default().build();
        let answers = self.client().import_image(options, body, None);
        self.follow(image, &how, &pulse, answers).await?;
        self.is_here(image, how, "the archive holds images of other names only").await
    }

    async fn import(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let pulse = Pulse::new();
        let body = body_try_stream(chunks(Self::open(image, &how, path)?, pulse.clone()));
        let named = image.with_tag();
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(named.name())
            .tag(named.tag().unwrap_or("latest"))
            .build();
        let answers = self.client().create_image(Some(options), Some(body), None);
        self.follow(image, &how, &pulse, answers).await?;
        self.is_here(image, how, "the engine says that it has made it, and does not have it").await
    }

    fn open(image: &ImageRef, how: &str, path: &Path) -> Result<File, HostError> {
        File::open(path).map_err(|error| Self::no_image(image, how.to_owned(), error.to_string()))
    }

    /// Whether the engine has it now; `otherwise` says what is wrong then.
    ///
    /// A stream of answers that was cut at the right place looks like one that has ended.
    async fn is_here(
        &self,
        image: &ImageRef,
        how: String,
        otherwise: &str,
    ) -> Result<(), HostError> {
        let inspect = self.client().inspect_image(image.as_str());
        match self.call("inspect image", self.limit, inspect).await? {
            Some(_) => Ok(()),
            None => Err(Self::no_image(image, how, otherwise.to_owned())),
        }
    }

    /// Listens until the engine has ended, or neither says nor takes anything any more.
    async fn follow<T>(
        &self,
        image: &ImageRef,
        how: &str,
        pulse: &Pulse,
        answers: impl Stream<Item = Result<T, Answer>>,
    ) -> Result<(), HostError> {
        let mut answers = std::pin::pin!(answers);
        loop {
            match timeout_at(pulse.last() + self.silence, answers.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => pulse.beat(),
                Ok(Some(Err(answer))) => {
                    return Err(match self.error(answer) {
                        Error::Refused { message } => {
                            Self::no_image(image, how.to_owned(), message.trim().to_owned())
                        }
                        source @ (Error::Unreachable { .. }
                        | Error::Silent { .. }
                        | Error::Broken { .. }
                        | Error::NoImage { .. }
                        | Error::WentBack { .. }
                        | Error::Endpoint(_)) => HostError::Engine {
                            doing: format!("get image {image}"),
                            source: Box::new(source),
                        },
                    });
                }
                // It has taken a piece of the file meanwhile.
                Err(_) if pulse.last() + self.silence > Instant::now() => {}
                Err(_) => {
                    self.look_for_life().await;
                    let endpoint = self.endpoint.clone();
                    let source = Box::new(Error::Silent { endpoint, limit: self.silence });
                    return Err(HostError::Engine { doing: format!("get image {image}"), source });
                }
            }
        }
    }
}

/// When something has moved last, in either direction.
#[derive(Clone, Debug)]
struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of `file`; each piece that is taken is a beat of `pulse`. Reading blocks the one thread of
/// a pass for a chunk at a time, which is what a disk takes for it.
fn chunks(file: File, pulse: Pulse) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(file), move |file| {
        pulse.beat();
        async {
            let mut file = file?;
            let mut chunk = vec![0; CHUNK];
            match file.read(&mut chunk) {
                Ok(0) => None,
                Ok(length) => {
                    chunk.truncate(length);
                    Some((Ok(chunk.into()), Some(file)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}
