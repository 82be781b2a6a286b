//! What was asked of the object store, under the names that Loki's dashboards know.

use loki_store::ObjectOperation::{Attributes, Delete, Get, GetRange, Iter, Upload};
use loki_store::bucket::Bucket;
use loki_store::{Counter, Histogram, ObjectEnd, ObjectOperation, ObjectRequests};

use super::Exposition;
use crate::app::App;
use crate::config::DataLocation;

/// What a cloud's client calls its operations, and which of ours these are.
type Operations = &'static [(&'static str, &'static [ObjectOperation])];

const S3_OPERATIONS: Operations = &[
    ("S3.PutObject", &[Upload]),
    ("S3.GetObject", &[Get, GetRange]),
    ("S3.HeadObject", &[Attributes]),
    ("S3.List", &[Iter]),
    ("S3.DeleteObject", &[Delete]),
];
const GCS_OPERATIONS: Operations =
    &[("PUT", &[Upload]), ("GET", &[Get, GetRange, Iter]), ("HEAD", &[Attributes]), ("DELETE", &[Delete])];
const AZURE_OPERATIONS: Operations = &[
    ("PutBlob", &[Upload]),
    ("GetBlob", &[Get, GetRange]),
    ("GetBlobProperties", &[Attributes]),
    ("ListBlobs", &[Iter]),
    ("DeleteBlob", &[Delete]),
];

/// Writes what was asked of the object store.
pub(super) fn expose(app: &App, out: &mut Exposition) {
    let requests = app.store().object_requests();
    expose_own(requests, out);
    let location = &app.config().data.location;
    expose_operations(requests, bucket_name(location), out);
    if let DataLocation::Bucket(place) = location {
        expose_client(requests, &place.bucket, out);
    }
}

/// What buckets charge for.
fn expose_own(requests: &ObjectRequests, out: &mut Exposition) {
    out.family("store_object_requests_total", "counter", "Requests to the object store.");
    let kinds: [(&str, &Counter); 4] = [
        ("write", &requests.writes),
        ("read", &requests.reads),
        ("list", &requests.lists),
        ("delete", &requests.deletes),
    ];
    for (kind, count) in kinds {
        out.sample("store_object_requests_total", &[("kind", kind.to_owned())], count.value() as f64);
    }
    let failures = requests.failures.value();
    out.counter("store_object_request_failures_total", "Requests to the object store that failed for good.", failures);
    out.counter("store_object_bytes_read_total", "Bytes of objects read.", requests.bytes_read.value());
    out.counter("store_object_bytes_written_total", "Bytes of objects written.", requests.bytes_written.value());
}

/// The operations as Loki's storage clients of today count them.
fn expose_operations(requests: &ObjectRequests, bucket: &str, out: &mut Exposition) {
    let labels =
        |operation: ObjectOperation| [("bucket", bucket.to_owned()), ("operation", operation.as_str().to_owned())];
    let name = "objstore_bucket_operations_total";
    out.family(name, "counter", "Operations on the object store.");
    for operation in ObjectOperation::ALL {
        out.sample(name, &labels(operation), requests.operations(operation) as f64);
    }
    let name = "objstore_bucket_operation_failures_total";
    out.family(name, "counter", "Operations on the object store that failed.");
    for operation in ObjectOperation::ALL {
        let failures = [ObjectEnd::Absent, ObjectEnd::Denied, ObjectEnd::Failed];
        let failures = failures.map(|end| requests.seconds(operation, end).count());
        out.sample(name, &labels(operation), failures.iter().sum::<u64>() as f64);
    }
    let name = "objstore_bucket_operation_duration_seconds";
    out.family(name, "histogram", "Time that operations took that were done.");
    for operation in ObjectOperation::ALL {
        out.histogram(name, &labels(operation), requests.seconds(operation, ObjectEnd::Done));
    }
}

/// The operations as the clients of single clouds count them.
fn expose_client(requests: &ObjectRequests, bucket: &Bucket, out: &mut Exposition) {
    let (name, operations) = match bucket {
        Bucket::S3(_) => ("s3_request_duration_seconds", S3_OPERATIONS),
        Bucket::Gcs(_) => ("gcs_request_duration_seconds", GCS_OPERATIONS),
        Bucket::Azure(_) => ("azure_blob_request_duration_seconds", AZURE_OPERATIONS),
        _ => return,
    };
    out.family(name, "histogram", "Time that requests to the bucket took, with all attempts.");
    for (operation, parts) in operations {
        for end in ObjectEnd::ALL {
            let total = Histogram::empty_like(requests.seconds(parts[0], end));
            parts.iter().for_each(|&part| total.add(requests.seconds(part, end)));
            if total.count() > 0 {
                let labels = [("operation", (*operation).to_owned()), ("status_code", end.status().to_string())];
                out.histogram(name, &labels, &total);
            }
        }
    }
}

fn bucket_name(location: &DataLocation) -> &str {
    match location {
        DataLocation::Bucket(place) => place.bucket.name(),
        DataLocation::Folder(_) | DataLocation::Memory => "",
    }
}
