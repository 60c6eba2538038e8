//! Gets a URL of a service by its name: `http://greeter-api/`.
//!
//! `cargo run -p portolan-reqwest --example reqwest_client -- http://greeter-api/`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use portolan::DiscoveryClient;
use portolan_reqwest::ServiceClientBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://greeter-api/".to_owned());
    let discovery = DiscoveryClient::builder().from_env()?.build()?;
    let client = ServiceClientBuilder::new(&discovery).build()?;
    let response = client.get(&url).send().await?;
    println!("{} from {}", response.status(), response.url());
    print!("{}", response.text().await?);
    discovery.close().await;
    Ok(())
}
