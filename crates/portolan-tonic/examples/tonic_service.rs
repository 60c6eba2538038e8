//! An instance of the gRPC service `greeter-grpc`: start it several times, and stop it with Ctrl-C.
//!
//! `cargo run -p portolan-tonic --example tonic_service`, then `cargo run -p portolan-tonic --example tonic_client`. The
//! service is written without generated code, so that the example needs no compiler of protocol buffers.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Ready, ready};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// The answer of the method `Hello`.
#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

/// The service `demo.Greeter`, with the method `Hello` only.
#[derive(Clone)]
struct Greeter;

struct Hello;

impl NamedService for Greeter {
    const NAME: &'static str = "demo.Greeter";
}

impl UnaryService<()> for Hello {
    type Response = Greeting;
    type Future = Ready<Result<Response<Greeting>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let text = format!("hello from {}", std::process::id());
        ready(Ok(Response::new(Greeting { text })))
    }
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        async move {
            if request.uri().path() != "/demo.Greeter/Hello" {
                return Ok(Status::unimplemented("the method is Hello").into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::<Greeting, ()>::default());
            Ok(grpc.unary(Hello, request).await)
        }
        .boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).init();
    let router = Server::builder().add_service(Greeter);
    portolan_tonic::serve("greeter-grpc", router).await?;
    Ok(())
}
