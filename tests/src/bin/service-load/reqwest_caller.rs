//! Requests by reqwest to `http://NAME/`.

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan::DiscoveryClient;
use portolan_reqwest::ServiceClientBuilder;
use reqwest::Method;
use reqwest_middleware::ClientWithMiddleware;

use crate::Caller;

pub(crate) struct ReqwestCaller {
    client: ClientWithMiddleware,
    method: Method,
    url: String,
}

impl ReqwestCaller {
    pub(crate) fn new(discovery: &DiscoveryClient, name: &str, is_post: bool) -> Result<Self> {
        let client = ServiceClientBuilder::new(discovery).build()?;
        let method = if is_post { Method::POST } else { Method::GET };
        Ok(Self { client, method, url: format!("http://{name}/") })
    }
}

impl Caller for ReqwestCaller {
    fn call(&self) -> BoxFuture<'_, Result<String>> {
        async {
            let response = self.client.request(self.method.clone(), &self.url).send().await?;
            Ok(response.error_for_status()?.text().await?)
        }
        .boxed()
    }
}
