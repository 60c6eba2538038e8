//! Calls the service `greeter-grpc` by its name.
//!
//! `cargo run -p portolan-tonic --example tonic_client`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use http::uri::PathAndQuery;
use portolan::DiscoveryClient;
use portolan_tonic::ServiceChannel;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

/// The answer of the method `Hello`.
#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let discovery = DiscoveryClient::builder().from_env()?.build()?;
    let channel = ServiceChannel::new(discovery.instances("greeter-grpc").await?);
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/demo.Greeter/Hello");
    let codec = ProstCodec::<(), Greeting>::default();
    let answer = client.unary(tonic::Request::new(()), path, codec).await?;
    println!("{}", answer.into_inner().text);
    discovery.close().await;
    Ok(())
}
