// SPDX-License-Identifier: GPL-2.0-or-later

//! Getting an image into the engine: from a registry, or from a file of this host.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::ready;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::body_try_stream;
use bollard::errors::Error as Answer;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::db::value::ImageRef;
use crate::host::engine::{Engine, Error};
use crate::host::progress::Got;
use crate::host::{Error as HostError, alive, outside};
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
        let got = match source {
            ImageSource::Registry => self.pull(image).await,
            ImageSource::Archive(path) => self.load(image, path).await,
            ImageSource::Rootfs(path) => self.import(image, path).await,
            ImageSource::Unknown(word) => {
                let how = format!("by Source {word}");
                Err(Self::no_image(image, how, "this version cannot build it".to_owned()))
            }
        };
        self.progress.got_all(image.as_str());
        got
    }

    fn no_image(image: &ImageRef, how: String, message: String) -> HostError {
        let source = Box::new(Error::NoImage { image: image.clone(), how, message });
        HostError::Engine { doing: format!("get image {image}"), source }
    }

    async fn pull(&self, image: &ImageRef) -> Result<(), HostError> {
        let options =
            CreateImageOptionsBuilder::default().from_image(image.with_tag().as_str()).build();
        let mut parts = Parts::default();
        let answers = self.client().create_image(Some(options), None, None).inspect(|told| {
            if let Ok(told) = told {
                self.progress.got(image.as_str(), parts.take(told));
            }
        });
        let how = "from its registry".to_owned();
        self.follow(image, &how, &Pulse::new(), answers).await?;
        self.is_here(image, how, "the engine says that it has got it, and does not have it").await
    }

    async fn load(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let pulse = Pulse::new();
        let body = body_try_stream(self.chunks(image, Self::open(image, &how, path)?, &pulse));
        let options = ImportImageOptionsBuilder::default().build();
        let answers = self.client().import_image(options, body, None);
        self.follow(image, &how, &pulse, answers).await?;
        self.is_here(image, how, "the archive holds images of other names only").await
    }

    async fn import(&self, image: &ImageRef, path: &Path) -> Result<(), HostError> {
        let how = format!("from the file {}", path.display());
        let pulse = Pulse::new();
        let body = body_try_stream(self.chunks(image, Self::open(image, &how, path)?, &pulse));
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
        let why = |error| unread(&error, path, outside::is_confined());
        File::open(path).map_err(|error| Self::no_image(image, how.to_owned(), why(error)))
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
            let _wait = alive::within(self.silence);
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

/// Why the file at `path` cannot be read; a confined root is kept off as anybody is.
fn unread(error: &io::Error, path: &Path, is_confined: bool) -> String {
    if !is_confined || error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    format!(
        "{error}: wharfd reads only what everybody or the user root may (chown root {}, and the same for its directories; or wharf apply, which is not confined)",
        path.display()
    )
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

/// The parts of an image that a registry sends, each with its own count.
#[derive(Debug, Default)]
struct Parts(BTreeMap<String, Got>);

impl Parts {
    /// Takes what the engine says of one of them, and gives the sum.
    fn take(&mut self, told: &CreateImageInfo) -> Got {
        let detail = told.progress_detail.as_ref();
        let bytes = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or(0);
        let id = told.id.as_deref().unwrap_or_default();
        match told.status.as_deref() {
            Some("Downloading") => {
                let current = bytes(detail.and_then(|detail| detail.current));
                let total = bytes(detail.and_then(|detail| detail.total));
                self.0.insert(id.to_owned(), Got { bytes: current, of: total });
            }
            // It counts from the beginning again while it unpacks, which is no download.
            Some("Download complete" | "Extracting" | "Pull complete") => {
                if let Some(part) = self.0.get_mut(id) {
                    part.bytes = part.of;
                }
            }
            Some(_) | None => {}
        }
        let sum =
            |all: Got, part: &Got| Got { bytes: all.bytes + part.bytes, of: all.of + part.of };
        self.0.values().fold(Got::default(), sum)
    }
}

impl Engine {
    /// The bytes of `file`; each piece that is taken is a beat of `pulse`. Reading blocks the one
    /// thread of a pass for a chunk at a time, which is what a disk takes for it.
    fn chunks(
        &self,
        image: &ImageRef,
        file: File,
        pulse: &Pulse,
    ) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let (pulse, progress) = (pulse.clone(), Arc::clone(&self.progress));
        let image = image.to_string();
        let mut got = Got { bytes: 0, of: file.metadata().map_or(0, |metadata| metadata.len()) };
        stream::unfold(Some(file), move |file| {
            pulse.beat();
            let read = file.and_then(|mut file| {
                let mut chunk = vec![0; CHUNK];
                match file.read(&mut chunk) {
                    Ok(0) => None,
                    Ok(length) => {
                        chunk.truncate(length);
                        got.bytes += length as u64;
                        progress.got(&image, got);
                        Some((Ok(chunk.into()), Some(file)))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            });
            ready(read)
        })
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn parts_of_an_image_are_summed_and_unpacking_takes_nothing_back() {
        let mut parts = Parts::default();
        let mut take = |id: &str, status: &str, current, total| {
            parts.take(&CreateImageInfo {
                id: Some(id.to_owned()),
                status: Some(status.to_owned()),
                progress_detail: Some(ProgressDetail { current, total }),
                ..CreateImageInfo::default()
            })
        };
        take("a", "Pulling fs layer", None, None);
        take("a", "Downloading", Some(10), Some(100));
        assert_eq!(take("b", "Downloading", Some(5), Some(50)), Got { bytes: 15, of: 150 });
        assert_eq!(take("a", "Extracting", Some(1), Some(100)), Got { bytes: 105, of: 150 });
        assert_eq!(take("b", "Download complete", None, None), Got { bytes: 150, of: 150 });
        assert_eq!(take("c", "Downloading", Some(-1), Some(-1)), Got { bytes: 150, of: 150 });
    }

    #[test]
    fn an_archive_that_a_confined_service_may_not_read_is_told_with_a_way_out() {
        let path = Path::new("/srv/wiki.tar");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(unread(&denied, path, true).contains("chown root /srv/wiki.tar"));
        assert_eq!(unread(&denied, path, false), denied.to_string());
        let gone = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(unread(&gone, path, true), gone.to_string());
    }
}
