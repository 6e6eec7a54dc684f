// SPDX-License-Identifier: GPL-2.0-or-later

//! Getting an image into the engine: from a registry, or from a file of this host.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bollard::body_try_stream;
use bollard::errors::Error as Answer;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::db::value::ImageRef;
use crate::host::Error as HostError;
use crate::host::engine::{Engine, Error};
use crate::state::ImageSource;

/// For each sign of life of a pull or a load, which are limited by silence and not by their whole
/// time.
const SILENCE: Duration = Duration::from_secs(120);

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
        self.follow(image, "from its registry".to_owned(), answers).await
    }

    async fn load(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let body = body_try_stream(chunks(Self::open(image, &how, path)?));
        let options = ImportImageOptionsBuilder::default().build();
        let answers = self.client().import_image(options, body, None);
        self.follow(image, how.clone(), answers).await?;
        let inspect = self.client().inspect_image(image.as_str());
        if self.call("inspect image", self.limit, inspect).await?.is_none() {
            let message = "the archive holds images of other names only".to_owned();
            return Err(Self::no_image(image, how, message));
        }
        Ok(())
    }

    async fn import(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let body = body_try_stream(chunks(Self::open(image, &how, path)?));
        let named = image.with_tag();
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(named.name())
            .tag(named.tag().unwrap_or("latest"))
            .build();
        let answers = self.client().create_image(Some(options), Some(body), None);
        self.follow(image, how, answers).await
    }

    fn open(image: &ImageRef, how: &str, path: &Path) -> Result<File, HostError> {
        File::open(path).map_err(|error| Self::no_image(image, how.to_owned(), error.to_string()))
    }

    /// Listens until the engine has ended, or says nothing any more.
    async fn follow<T>(
        &self,
        image: &ImageRef,
        how: String,
        answers: impl Stream<Item = Result<T, Answer>>,
    ) -> Result<(), HostError> {
        let mut answers = std::pin::pin!(answers);
        loop {
            match timeout(SILENCE, answers.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(answer))) => {
                    return Err(match self.error(answer) {
                        Error::Refused { message } => {
                            Self::no_image(image, how, message.trim().to_owned())
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
                Err(_) => {
                    let endpoint = self.endpoint.clone();
                    let source = Box::new(Error::Silent { endpoint, limit: SILENCE });
                    return Err(HostError::Engine { doing: format!("get image {image}"), source });
                }
            }
        }
    }
}

/// The bytes of `file`. Reading blocks the one thread of a pass for a chunk at a time, which is what a
/// disk takes for it.
fn chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(file), |file| async {
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
    })
}
