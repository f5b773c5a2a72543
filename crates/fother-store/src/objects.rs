//! Blobs as objects in an S3-compatible store. Touches the network.

use crate::{BLOB_BYTES_MAX, Error, blobs::check_size, files::Files, runner::Runner, tls};
use bytes::Bytes;
use fother_core::Digest;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as Tcp},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions, ObjectStore as _, ObjectStoreExt as _,
    aws::{AmazonS3, AmazonS3Builder},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
    },
    path::Path,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// Longest wait for one answer's head.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Longest time for one blob, tries and pauses included.
const BLOB_WAIT: Duration = Duration::from_secs(120);
/// Tries of one request, and the time within which they are made.
const RETRIES_MAX: usize = 5;
const RETRY_WAIT: Duration = Duration::from_secs(20);

/// A bucket, the beginning of all names in it, and how it is reached. Shown without keys.
#[derive(Clone)]
pub(crate) struct Bucket {
    bucket: String,
    prefix: String,
    endpoint: Option<String>,
    region: String,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", [self.bucket.as_str(), self.prefix.as_str()].join("/").trim_end_matches('/'))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Bucket {
    /// Reads `s3://bucket[/prefix][?endpoint=URL&region=NAME]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad =
            |why: &str| Error::Place(format!("{text} is no bucket: {why}; write s3://bucket/prefix?endpoint=https://host&region=NAME"));
        let rest = text.strip_prefix("s3://").ok_or_else(|| bad("it does not begin with s3://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || bucket.contains(['@', ':']) {
            return Err(bad("its name is missing, or holds keys: those come from the environment or a credential"));
        }
        let mut parsed = Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
            region: std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("endpoint", value)) => parsed.endpoint = Some(value.to_owned()),
                Some(("region", value)) => parsed.region = value.to_owned(),
                _ => return Err(bad("only endpoint and region are known")),
            }
        }
        Ok(parsed)
    }
}

/// An open bucket.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<AmazonS3>,
    bucket: Bucket,
    runner: Arc<Runner>,
}

impl Objects {
    /// Opens the bucket with these settings (`AWS_ACCESS_KEY_ID` and so on), and looks into it once to know that they are right.
    pub(crate) fn open(bucket: &Bucket, settings: &BTreeMap<String, String>, runner: Arc<Runner>) -> Result<Self, Error> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.bucket)
            .with_region(&bucket.region)
            .with_http_connector(Connector)
            .with_retry(object_store::RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_WAIT, ..Default::default() });
        for (key, value) in settings {
            if let Ok(key) = key.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        let store = builder.build().map_err(|error| failure("open", &bucket.to_string(), &error))?;
        let objects = Self { store: Arc::new(store), bucket: bucket.clone(), runner };
        objects.look()?;
        Ok(objects)
    }

    /// Lists what lies below the prefix, to know that bucket and keys are right.
    fn look(&self) -> Result<(), Error> {
        let (store, prefix) = (Arc::clone(&self.store), Path::from(self.bucket.prefix.clone()));
        let below = prefix.clone();
        let found = self.wait("list", &prefix, async move { store.list_with_delimiter(Some(&below)).await })?;
        found.map(drop).map_err(|error| failure("list", &self.bucket.to_string(), &error))
    }

    fn path(&self, digest: &Digest) -> Path {
        let hex = digest.hex();
        Path::from(format!("{}/{}/{hex}", self.bucket.prefix, &hex[..2]))
    }

    /// Waits for `work` on an object, for [`BLOB_WAIT`] at most.
    fn wait<T: Send + 'static>(
        &self,
        act: &'static str,
        path: &Path,
        work: impl Future<Output = Result<T, object_store::Error>> + Send + 'static,
    ) -> Result<Result<T, object_store::Error>, Error> {
        let what = format!("s3://{}/{path}", self.bucket.bucket);
        let why = format!("no end within {} s", BLOB_WAIT.as_secs());
        self.runner.wait(async move { tokio::time::timeout(BLOB_WAIT, work).await })?.map_err(|_| Error::Objects { act, what, why })
    }
}

impl Files for Objects {
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let (store, path, bytes) = (Arc::clone(&self.store), self.path(digest), Bytes::copy_from_slice(bytes));
        let to = path.clone();
        let written = self.wait("write", &path, async move { store.put(&to, bytes.into()).await })?;
        written.map(drop).map_err(|error| failure("write", path.as_ref(), &error))
    }

    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let (store, path) = (Arc::clone(&self.store), self.path(digest));
        let from = path.clone();
        let read = self.wait("read", &path, async move {
            let found = store.get(&from).await?;
            // Looked at before it is read: whoever owns the bucket must not fill this machine's memory.
            if found.meta.size > BLOB_BYTES_MAX {
                return Ok(Err(found.meta.size));
            }
            Ok(Ok(found.bytes().await?.to_vec()))
        })?;
        match read {
            Ok(Ok(bytes)) => check_size(bytes.len() as u64).map(|()| Some(bytes)),
            Ok(Err(bytes)) => Err(Error::BlobTooLarge { bytes, max: BLOB_BYTES_MAX }),
            Err(object_store::Error::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => Ok(None),
            Err(error) => Err(failure("read", path.as_ref(), &error)),
        }
    }

    fn remove_leftovers(&self) -> Result<u64, Error> {
        // An object is there as a whole or not at all.
        Ok(0)
    }
}

fn failure(act: &'static str, what: &str, error: &object_store::Error) -> Error {
    Error::Objects { act, what: what.to_owned(), why: error.to_string() }
}

/// Makes clients over hyper and rustls: the crate's own would bring a second TLS library.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let tls = tls::config(tls::system_roots()).map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(HttpClient::new(Hyper(Client::builder(TokioExecutor::new()).build(connector))))
    }
}

struct Hyper(Client<HttpsConnector<Tcp>, HttpRequestBody>);

impl fmt::Debug for Hyper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hyper")
    }
}

#[async_trait::async_trait]
impl HttpService for Hyper {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let timed = tokio::time::timeout(ANSWER_WAIT, self.0.request(request)).await;
        let answer = timed.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))))
    }
}
