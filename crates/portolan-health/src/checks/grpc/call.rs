//! The call over one connection.

use http::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::client::Grpc as Client;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::{Answer, Grpc};
use crate::Target;
use crate::reach::Stream;
use crate::tls::TlsFailure;

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// An answer has a few bytes.
const MAX_ANSWER: usize = 1024;
/// The maximum size of the headers and trailers of an answer.
const MAX_HEADERS: u32 = 16 * 1024;
/// The maximum length of the reason of a server, in characters.
const MAX_REASON: usize = 200;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

// === impl Grpc ===

impl Grpc {
    pub(super) async fn call(&self, stream: TcpStream, target: &Target) -> Answer {
        let host = target.endpoint.host.to_string();
        let address = self.address.on(target);
        let host = address.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream: Stream = match &self.tls {
            None => Box::new(stream),
            Some(tls) => match tls.connect(stream, host, &[b"h2"], target).await {
                Ok(stream) => stream,
                Err(error @ TlsFailure::Config(_)) => return Answer::NotChecked(error.to_string()),
                Err(error) => return Answer::Untrusted(error.to_string()),
            },
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{address}").parse::<Uri>();
        match origin {
            Ok(origin) => self.exchange(stream, origin).await.unwrap_or_else(Answer::Failed),
            Err(error) => Answer::NotChecked(error.to_string()),
        }
    }

    async fn exchange(&self, stream: Stream, origin: Uri) -> Result<Answer, String> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let service = tower::service_fn(move |request| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let mut client = Client::with_origin(service, origin).max_decoding_message_size(MAX_ANSWER);
        let call = async {
            client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            let request = Request::new(HealthCheckRequest { service: self.service.clone() });
            let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
            client.unary(request, http::uri::PathAndQuery::from_static(METHOD), codec).await
        };
        // The connection is polled here and not in a task, so that dropping this future closes it.
        let response = tokio::select! {
            response = call => response,
            closed = connection => {
                return Err(match closed {
                    Ok(()) => "the server closed the connection".to_owned(),
                    Err(error) => error.to_string(),
                });
            }
        };
        Ok(match response {
            Ok(response) => Answer::Status(response.into_inner().status),
            Err(status) => refused(&status),
        })
    }
}

fn refused(status: &Status) -> Answer {
    match status.code() {
        Code::NotFound => Answer::UnknownService,
        Code::Unimplemented => Answer::Unimplemented,
        code => {
            let message = status.message().lines().next().unwrap_or_default();
            let message: String =
                message.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
            Answer::Failed(format!("{code:?} {message}").trim_end().to_owned())
        }
    }
}
