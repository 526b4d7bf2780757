//! `GET /images/search`: asks Docker Hub, or the registry that the term names.

use docker_api::image::SearchResult;

use crate::auth;
use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

const ACCEPTED: &[&str] = &["is-automated", "is-official", "stars"];
/// Results without a wish.
const LIMIT_DEFAULT: usize = 25;
/// Results at most.
const LIMIT_MAX: usize = 100;

pub(crate) async fn search(call: Call) -> Outcome {
    let term = call.query.text("term");
    if term.is_empty() {
        return Err(Failure::bad_request("query term: what to search for must be given"));
    }
    let limit = match call.query.integer::<i64>("limit")? {
        None | Some(0) => LIMIT_DEFAULT,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| *limit <= LIMIT_MAX)
            .ok_or_else(|| Failure::bad_request(format!("limit {limit} is outside the range of [1, {LIMIT_MAX}]")))?,
    };
    let filters = Filters::parse(&call.query, ACCEPTED)?;
    let wanted = Wanted::read(&filters)?;
    let auth = auth::from_headers(&call.headers)?;
    let found = call.engine().images().search(term, limit, auth.as_ref()).await?;
    let rows = found.into_iter().map(|found| SearchResult {
        star_count: found.star_count,
        is_official: found.is_official,
        name: found.name,
        is_automated: found.is_automated,
        description: found.description.unwrap_or_default(),
    });
    reply::ok(&rows.filter(|row| wanted.passes(row)).collect::<Vec<_>>())
}

/// The filters of a search.
struct Wanted {
    automated: Option<bool>,
    official: Option<bool>,
    stars: i64,
}

impl Wanted {
    fn read(filters: &Filters) -> Result<Self, Failure> {
        let mut stars = 0;
        for value in filters.values("stars") {
            let wrong = |_| Failure::bad_request(format!("invalid filter 'stars={value}'"));
            stars = value.parse::<i64>().map_err(wrong)?.max(stars);
        }
        Ok(Self { automated: filters.boolean("is-automated")?, official: filters.boolean("is-official")?, stars })
    }
    fn passes(&self, row: &SearchResult) -> bool {
        self.automated.is_none_or(|wanted| wanted == row.is_automated)
            && self.official.is_none_or(|wanted| wanted == row.is_official)
            && row.star_count >= self.stars
    }
}
