//! Azure Blob Storage.

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

use super::http::{self, RustlsConnector};
use super::{AzureContainer, AzureCredentials, Connection};
use crate::error::Error;

pub(super) fn open(container: &AzureContainer, connection: &Connection) -> Result<MicrosoftAzure, Error> {
    let mut builder = credited(&container.credentials);
    if !container.account.is_empty() {
        builder = builder.with_account(&container.account);
    }
    if !container.endpoint.is_empty() {
        builder = builder
            .with_allow_http(container.endpoint.starts_with("http://"))
            .with_endpoint(container.endpoint.trim_end_matches('/').to_owned());
    }
    builder
        .with_container_name(&container.name)
        .with_retry(http::retries(connection))
        .with_http_connector(RustlsConnector::new(connection)?)
        .build()
        .map_err(|source| http::unusable(&container.name, source))
}

/// A builder with credentials. Only where they are left to the environment does the environment have a say.
fn credited(credentials: &AzureCredentials) -> MicrosoftAzureBuilder {
    let builder = MicrosoftAzureBuilder::new();
    match credentials {
        AzureCredentials::Environment => MicrosoftAzureBuilder::from_env(),
        AzureCredentials::AccountKey(key) => builder.with_access_key(key.reveal()),
        AzureCredentials::ManagedIdentity { client_id } => {
            let builder = builder.with_credential_type("managed_identity");
            match client_id {
                Some(id) => builder.with_client_id(id),
                None => builder,
            }
        }
        AzureCredentials::ServicePrincipal { client_id, client_secret, tenant_id } => {
            builder.with_client_secret_authorization(client_id, client_secret.reveal(), tenant_id)
        }
    }
}
