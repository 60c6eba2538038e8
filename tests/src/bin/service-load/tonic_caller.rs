//! Unary calls of the method `Hello` over a channel that follows the instances.

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use portolan::DiscoveryClient;
use portolan_tonic::ServiceChannel;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::Caller;

/// The answer of the method.
#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

pub(crate) struct TonicCaller(ServiceChannel);

impl TonicCaller {
    pub(crate) async fn new(discovery: &DiscoveryClient, name: &str) -> Result<Self> {
        Ok(Self(ServiceChannel::new(discovery.instances(name).await?)))
    }
}

impl Caller for TonicCaller {
    fn call(&self) -> BoxFuture<'_, Result<String>> {
        async {
            let mut client = Grpc::new(self.0.clone());
            client.ready().await?;
            let path = PathAndQuery::from_static("/demo.Greeter/Hello");
            let codec = ProstCodec::<(), Greeting>::default();
            let answer = client.unary(tonic::Request::new(()), path, codec).await?;
            Ok(answer.into_inner().text)
        }
        .boxed()
    }
}
