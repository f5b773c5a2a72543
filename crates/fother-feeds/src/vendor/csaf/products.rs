//! A CSAF document's product tree resolved: from a product id, through relationships, to a release's package or a product by name.

use super::document::{Branch, Csaf, Named, Str, Tree};
use fother_core::{
    assess::releases,
    vex::{Product, Versions},
};
use std::collections::HashMap;

/// Most products of one document.
const PRODUCTS_MAX: usize = 1_000_000;
/// Longest chain of relationships: an rpm in a module in a repository in a release.
const CHAIN_MAX: usize = 8;
/// Deepest branches; the parser of JSON bounds them too.
const BRANCHES_MAX: usize = 40;

/// A product of the tree by itself.
struct Leaf<'d, 'a> {
    named: &'d Named<'a>,
    /// What its branch says about its version, and its product's name above.
    versions: Versions,
    product: &'d str,
}

/// What a product id means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meant {
    /// Release in the database, where a distribution's vendor made it.
    pub release: Option<String>,
    /// Why a fix there is not for all.
    pub paid: Option<&'static str>,
    /// Name of the package in the database, without its module.
    pub name: String,
    /// Module and stream.
    pub module: String,
    /// The source package is meant.
    pub is_source: bool,
    /// Version and release with epoch; `None` where all are meant.
    pub version: Option<String>,
    /// The same as a product for statements.
    pub product: Product,
}

/// The tree, by product id.
pub struct Products<'d, 'a> {
    leaves: HashMap<&'d str, Leaf<'d, 'a>>,
    relations: HashMap<&'d str, (&'d str, &'d str, &'d Named<'a>)>,
    groups: HashMap<&'d str, &'d [Str<'a>]>,
    is_distribution: bool,
}

impl<'d, 'a> Products<'d, 'a> {
    /// Reads the tree. `is_distribution`: the publisher makes rpm packages of the releases that it names.
    ///
    /// # Errors
    /// Where an id stands there twice or there are too many.
    pub fn of(csaf: &'d Csaf<'a>, is_distribution: bool) -> Result<Self, String> {
        let Tree { branches, full_product_names, relationships, product_groups } = &csaf.product_tree;
        let (leaves, relations) = (HashMap::new(), HashMap::new());
        let groups = product_groups.iter().map(|group| (&*group.group_id, group.product_ids.as_slice())).collect();
        let mut out = Self { leaves, relations, groups, is_distribution };
        for named in full_product_names {
            out.put(Leaf { named, versions: Versions::Any, product: &named.name })?;
        }
        for branch in branches {
            out.branch(branch, "", 0)?;
        }
        for relation in relationships {
            let parts = (&*relation.product_reference, &*relation.relates_to_product_reference, &relation.full_product_name);
            let id = &*relation.full_product_name.product_id;
            let known = out.relations.insert(id, parts);
            if out.leaves.contains_key(id) || known.is_some_and(|(part, whole, _)| (part, whole) != (parts.0, parts.1)) {
                return Err(format!("product id `{}` is defined twice", fother_core::text::printable(id, 80)));
            }
        }
        Ok(out)
    }

    fn put(&mut self, leaf: Leaf<'d, 'a>) -> Result<(), String> {
        if self.leaves.len() >= PRODUCTS_MAX {
            return Err(format!("more than {PRODUCTS_MAX} products"));
        }
        let id = &*leaf.named.product_id;
        let said = |named: &'d Named<'a>| {
            let helper = &named.product_identification_helper;
            (&*named.name, helper.purl.as_deref(), helper.cpe.as_deref())
        };
        let own = said(leaf.named);
        // Red Hat lists one source in the branches of several architectures; saying the same twice is no contradiction.
        match self.leaves.insert(id, leaf) {
            Some(known) if said(known.named) != own => {
                Err(format!("product id `{}` is defined twice", fother_core::text::printable(id, 80)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn branch(&mut self, branch: &'d Branch<'a>, product: &'d str, depth: usize) -> Result<(), String> {
        if depth > BRANCHES_MAX {
            return Err(format!("its branches are deeper than {BRANCHES_MAX}"));
        }
        let product = if &*branch.category == "product_name" { &*branch.name } else { product };
        if let Some(named) = &branch.product {
            let versions = match &*branch.category {
                "product_version" if !product.is_empty() => Versions::One((*branch.name).to_owned()),
                "product_version_range" => Versions::Vers((*branch.name).to_owned()),
                _ => Versions::Any,
            };
            self.put(Leaf { named, versions, product: if product.is_empty() { &named.name } else { product } })?;
        }
        branch.branches.iter().try_for_each(|inner| self.branch(inner, product, depth + 1))
    }

    /// The ids that a list and groups name.
    pub fn ids<'x>(&'x self, ids: &'x [Str<'a>], groups: &'x [Str<'a>]) -> impl Iterator<Item = &'x str> {
        let grouped = groups.iter().filter_map(|group| self.groups.get(&**group)).flat_map(|ids| ids.iter());
        ids.iter().chain(grouped).map(|id| &**id)
    }

    /// The product itself first, then what it is a part of.
    fn chain<'x>(&'x self, id: &str, depth: usize, out: &mut Vec<&'x Leaf<'d, 'a>>) -> bool {
        if depth > CHAIN_MAX {
            return false;
        }
        if let Some(leaf) = self.leaves.get(id) {
            out.push(leaf);
            return true;
        }
        self.relations.get(id).is_some_and(|(part, whole, _)| self.chain(part, depth + 1, out) && self.chain(whole, depth + 1, out))
    }

    /// What an id means; an id that the tree does not define means the product of that name.
    pub fn meant(&self, id: &str) -> Vec<Meant> {
        let mut chain = Vec::new();
        if !self.chain(id, 0, &mut chain) {
            let name = self.relations.get(id).map_or(id, |(_, _, named)| &*named.name).to_owned();
            return vec![Meant { product: Product { name: name.clone(), ..Product::default() }, name, ..Meant::default() }];
        }
        let Some((leaf, wholes)) = chain.split_first() else { return Vec::new() };
        let helper = &leaf.named.product_identification_helper;
        let related = self.relations.get(id).map(|(_, _, named)| &named.product_identification_helper);
        let mut purls: Vec<&str> = helper.purl.iter().chain(&helper.purls).map(|purl| &**purl).collect();
        if purls.is_empty() {
            purls.extend(related.iter().flat_map(|helper| helper.purl.iter().chain(&helper.purls)).map(|purl| &**purl));
        }
        if purls.is_empty() {
            return vec![self.plain(leaf, wholes)];
        }
        purls.into_iter().map(|purl| self.of_purl(purl, leaf, wholes)).collect()
    }

    /// Release, and whether its fixes are for all.
    fn release(&self, leaf: &Leaf<'d, 'a>, wholes: &[&Leaf<'d, 'a>]) -> Option<(String, Option<&'static str>)> {
        if !self.is_distribution {
            return None;
        }
        let of = |leaf: &Leaf<'d, 'a>| {
            let named = leaf.named;
            let cpe = named.product_identification_helper.cpe.as_deref().and_then(releases::of_cpe).map(|release| (release, None));
            if named.name.contains("SUSE") { releases::suse(&named.name).or(cpe) } else { cpe }
        };
        wholes.iter().find_map(|whole| of(whole)).or_else(|| of(leaf))
    }

    fn of_purl(&self, text: &str, leaf: &Leaf<'d, 'a>, wholes: &[&Leaf<'d, 'a>]) -> Meant {
        let Ok(purl) = fother_core::purl::Purl::parse(text) else { return self.plain(leaf, wholes) };
        let Ok(mut product) = Product::of_purl(text) else { return self.plain(leaf, wholes) };
        product.hashes = hashes(leaf.named);
        let version = match &product.versions {
            Versions::One(version) => Some(version.clone()),
            Versions::Any | Versions::Vers(_) => None,
        };
        if product.kind != "rpm" {
            return Meant { name: product.name.clone(), version, product, ..Meant::default() };
        }
        let release = self.release(leaf, wholes);
        let module =
            purl.qualifier("rpmmod").and_then(fother_core::sbom::stream).or_else(|| wholes.iter().find_map(|whole| module(whole.named)));
        if let Some((release, _)) = &release {
            product.qualifiers.insert("release".into(), release.clone());
        }
        Meant {
            is_source: matches!(purl.qualifier("arch"), Some("src" | "source" | "nosrc")),
            name: product.name.clone(),
            module: module.unwrap_or_default(),
            version,
            paid: release.as_ref().and_then(|(_, paid)| *paid),
            release: release.map(|(release, _)| release),
            product,
        }
    }

    /// A product without a package URL: Red Hat's and SUSE's are packages all the same, by name or by name, version and architecture.
    fn plain(&self, leaf: &Leaf<'d, 'a>, wholes: &[&Leaf<'d, 'a>]) -> Meant {
        let named = leaf.named;
        let release = self.release(leaf, wholes).filter(|_| !wholes.is_empty());
        let Some((release, paid)) = release else {
            let product =
                Product { name: leaf.product.to_owned(), versions: leaf.versions.clone(), hashes: hashes(named), ..Product::default() };
            return Meant { name: product.name.clone(), product, ..Meant::default() };
        };
        // `nodejs:18/nodejs` names a module's package without a version.
        let (own, bare) = named.name.split_once('/').filter(|(module, _)| module.contains(':')).unwrap_or(("", &named.name));
        let module = wholes.iter().find_map(|whole| module(whole.named)).unwrap_or_else(|| own.to_owned());
        let (name, version, is_source) = match nevra(bare) {
            Some((name, version, arch)) => (name, Some(version), matches!(arch, "src" | "nosrc")),
            None => (bare.to_owned(), None, true),
        };
        let namespace = match release.split(':').next() {
            Some("Red Hat") => "redhat",
            Some("openSUSE") => "opensuse",
            Some(_) | None => "suse",
        };
        let mut product = Product { kind: "rpm".into(), namespace: namespace.into(), name: name.clone(), ..Product::default() };
        product.versions = version.clone().map_or(Versions::Any, Versions::One);
        product.qualifiers.insert("release".into(), release.clone());
        Meant { release: Some(release), paid, name, module, is_source, version, product }
    }
}

fn hashes(named: &Named<'_>) -> std::collections::BTreeMap<String, String> {
    let all = named.product_identification_helper.hashes.iter().flat_map(|hashes| &hashes.file_hashes);
    all.map(|hash| (hash.algorithm.to_lowercase().replacen("sha", "sha-", 1).replace("--", "-"), hash.value.to_lowercase())).collect()
}

/// Module and stream of a product that is one: by its package URL (`pkg:rpmmod/redhat/nodejs@18:8090…`) or its name (`nodejs:18:8090…`).
fn module(named: &Named<'_>) -> Option<String> {
    let helper = &named.product_identification_helper;
    let purl = helper.purl.iter().chain(&helper.purls).find_map(|purl| fother_core::purl::Purl::parse(purl).ok());
    match purl {
        Some(purl) if purl.kind == "rpmmod" => {
            let version = purl.version?;
            Some(format!("{}:{}", purl.name, version.split(':').next().unwrap_or_default()))
        }
        Some(_) => None,
        None if helper.cpe.is_some() || named.name.contains(' ') => None,
        None => fother_core::sbom::stream(&named.name),
    }
}

/// `tomcat-1:9.0.87-1.el8_10.1.noarch` as name, version with epoch, and architecture.
fn nevra(text: &str) -> Option<(String, String, &str)> {
    const ARCHES: [&str; 13] =
        ["noarch", "src", "nosrc", "x86_64", "aarch64", "ppc64le", "s390x", "i686", "i586", "ppc64", "s390", "armv7hl", "riscv64"];
    let (rest, arch) = text.rsplit_once('.').filter(|(_, arch)| ARCHES.contains(arch))?;
    let (rest, release) = rest.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    let version = version.strip_prefix("0:").unwrap_or(version);
    (!name.is_empty()).then(|| (name.to_owned(), format!("{version}-{release}"), arch))
}
