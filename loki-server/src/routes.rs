//! The route table and what surrounds every handler.

mod debug;
mod delete;
mod detected;
mod format;
mod layers;
mod lifecycle;
mod metadata;
mod otlp;
mod patterns;
mod push;
mod query;
mod status;
mod table;
mod tail;
mod volume;

use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use http::{StatusCode, Uri, header};

use crate::app::App;
use crate::error::ApiError;

pub(crate) use table::Routes;

/// Every route of a server, ready to be served or to be asked in process.
///
/// ```no_run
/// # async fn example(app: loki_server::App) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3100").await?;
/// axum::serve(listener, loki_server::router(app)).await?;
/// # Ok(())
/// # }
/// ```
pub fn router(app: App) -> Router {
    let routes = table(&app).router;
    let prefix = app.config().http.path_prefix.clone();
    let routes = if prefix.is_empty() { routes } else { Router::new().nest(&prefix, routes) };
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), layers::authenticate))
        .layer(middleware::from_fn_with_state(app.clone(), layers::guard))
        .layer(middleware::from_fn_with_state(app.clone(), layers::observe))
        .with_state(app)
}

/// The paths of all routes of a server, below its prefix, with placeholders such as `{name}` in braces.
pub fn route_paths(app: &App) -> Vec<&'static str> {
    table(app).paths
}

/// Only answers to queries are compressed, and the metrics: what others answer is small or for people.
fn table(app: &App) -> Routes {
    let compressed = Routes::new()
        .merge(query::routes())
        .merge(metadata::routes())
        .merge(volume::routes())
        .merge(detected::routes())
        .merge(patterns::routes())
        .merge(format::routes())
        .merge(status::metrics_routes(app))
        .compressed(app);
    Routes::new()
        .merge(compressed)
        .merge(push::routes())
        .merge(otlp::routes())
        .merge(status::routes(app))
        .merge(tail::routes())
        .merge(delete::routes(app))
        .merge(debug::routes(app))
        .merge(lifecycle::routes(app))
}

/// A route for GET alone. Unlike axum's it does not answer HEAD, because Loki's do not.
pub(crate) fn only_get<H: Handler<T, App>, T: 'static>(handler: H) -> MethodRouter<App> {
    get(handler).head(method_not_allowed)
}

/// A route for POST alone.
pub(crate) fn only_post<H: Handler<T, App>, T: 'static>(handler: H) -> MethodRouter<App> {
    post(handler)
}

/// A route for GET and POST, as all query routes are.
pub(crate) fn get_and_post<H: Handler<T, App>, T: 'static>(handler: H) -> MethodRouter<App> {
    get(handler.clone()).post(handler).head(method_not_allowed)
}

/// A route with a handler each for GET, POST and DELETE.
pub(crate) fn by_method<G, P, D, TG, TP, TD>(on_get: G, on_post: P, on_delete: D) -> MethodRouter<App>
where
    G: Handler<TG, App>,
    P: Handler<TP, App>,
    D: Handler<TD, App>,
    TG: 'static,
    TP: 'static,
    TD: 'static,
{
    get(on_get).post(on_post).delete(on_delete).head(method_not_allowed)
}

/// What is answered where there is nothing; a path that is not in its clean form is redirected to it.
async fn not_found(uri: Uri) -> Response {
    match layers::clean_path(uri.path()) {
        Some(clean) => {
            let location = uri.query().map_or_else(|| clean.clone(), |query| format!("{clean}?{query}"));
            (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response()
        }
        None => not_found_error().into_response(),
    }
}

/// The answer to a path that no route has.
pub(crate) fn not_found_error() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "404 page not found").with_newline()
}

async fn method_not_allowed() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}
