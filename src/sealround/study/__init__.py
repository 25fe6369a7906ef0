"""The study file: one TOML text, the same at every site, becomes one frozen `Study`."""

from sealround.study.digest import study_digest
from sealround.study.loading import load_study, parse_study
from sealround.study.sections import Study
from sealround.study.site_file import SiteFile, apply_site, load_site_file, parse_site_file

__all__ = [
    "SiteFile",
    "Study",
    "apply_site",
    "load_site_file",
    "load_study",
    "parse_site_file",
    "parse_study",
    "study_digest",
]
