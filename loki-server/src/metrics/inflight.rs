//! Requests being answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use http::Method;
use parking_lot::RwLock;

use super::{Exposition, known_method, route_label};

/// Requests being answered, by method and route.
#[derive(Debug, Default)]
pub(crate) struct Inflight(RwLock<HashMap<Key, Arc<AtomicI64>, RandomState>>);

/// One request, until this is dropped: also when the client went away.
#[derive(Debug)]
pub(crate) struct InflightRequest(Arc<AtomicI64>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    method: Method,
    path: Box<str>,
}

/// A [`Key`] that owns nothing.
#[derive(Hash)]
struct KeyRef<'a> {
    method: &'a Method,
    path: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.path == *key.path && *self.method == key.method
    }
}

impl Inflight {
    /// Counts a request to the route with that pattern.
    pub(crate) fn enter(&self, method: &Method, route: Option<&str>) -> InflightRequest {
        let key = KeyRef { method: known_method(method), path: route.unwrap_or_default() };
        let known = self.0.read().get(&key).map(Arc::clone);
        let count = known.unwrap_or_else(|| {
            let owned = Key { method: key.method.clone(), path: key.path.into() };
            Arc::clone(self.0.write().entry(owned).or_default())
        });
        count.fetch_add(1, Ordering::Relaxed);
        InflightRequest(count)
    }

    /// Writes all of it.
    pub(super) fn expose(&self, out: &mut Exposition) {
        let counts = self.0.read();
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(key, _)| (&key.path, key.method.as_str()));
        out.family("inflight_requests", "gauge", "Requests being answered.");
        for (key, count) in counts {
            let labels = [("method", key.method.to_string()), ("route", route_label(&key.path))];
            out.sample("inflight_requests", &labels, count.load(Ordering::Relaxed) as f64);
        }
    }
}

impl Drop for InflightRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TextFormat;

    #[test]
    fn requests_are_counted_while_they_last() {
        let inflight = Inflight::default();
        let exposed = || {
            let mut out = Exposition::new("x", TextFormat::Prometheus);
            inflight.expose(&mut out);
            out.finish().lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        let first = inflight.enter(&Method::GET, Some("/ready"));
        let second = inflight.enter(&Method::GET, Some("/ready"));
        drop(inflight.enter(&Method::GET, None));
        let other = r#"x_inflight_requests{method="GET",route="other"} 0"#;
        assert_eq!(exposed(), [other, r#"x_inflight_requests{method="GET",route="ready"} 2"#]);
        drop((first, second));
        assert_eq!(exposed(), [other, r#"x_inflight_requests{method="GET",route="ready"} 0"#]);
    }
}
