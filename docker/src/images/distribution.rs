//! `GET /distribution/{name}/json`: what a registry says of an image.

use docker_api::image::{Descriptor, DistributionInspect, OciPlatform};
use engine::image::{Distribution, Platform, Reference};

use crate::auth;
use crate::call::Call;
use crate::reply::{self, Outcome};

pub(crate) async fn inspect(call: Call) -> Outcome {
    let reference: Reference = call.name().parse()?;
    let auth = auth::from_headers(&call.headers)?;
    let found = call.engine().images().distribution(&reference, auth.as_ref()).await?;
    reply::ok(&document(found))
}

fn document(found: Distribution) -> DistributionInspect {
    let platform = |platform: &Platform| OciPlatform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
    };
    let digest = found.digest.to_string();
    DistributionInspect {
        descriptor: Descriptor { media_type: found.media_type, digest, size: found.size, platform: None },
        platforms: found.platforms.iter().map(platform).collect(),
    }
}
