//! Routes that know their paths.

use axum::routing::MethodRouter;
use axum::{Router, middleware};

use crate::app::App;
use crate::routes::layers;

/// Routes, and the list of their paths, which a router does not tell.
#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) router: Router<App>,
    pub(crate) paths: Vec<&'static str>,
}

impl Routes {
    /// No routes.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same with one more.
    pub(crate) fn route(mut self, path: &'static str, methods: MethodRouter<App>) -> Self {
        self.router = self.router.route(path, methods);
        self.paths.push(path);
        self
    }

    /// The same with all of `others`.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.paths.extend(others.paths);
        self
    }

    /// The same with answers compressed for clients that take gzip.
    pub(crate) fn compressed(mut self, app: &App) -> Self {
        self.router = self.router.route_layer(middleware::from_fn_with_state(app.clone(), layers::compress));
        self
    }
}
