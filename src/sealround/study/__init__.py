"""The study file: one TOML text, the same at every site, becomes one frozen `Study`."""

from sealround.study.digest import study_digest
from sealround.study.loading import load_study, parse_study
from sealround.study.sections import Study

__all__ = ["Study", "load_study", "parse_study", "study_digest"]
