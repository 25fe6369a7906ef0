"""``sealround schema``: what a study file may say, for editors and people."""

from __future__ import annotations

import json

import click

from sealround.study.schema import render_reference, site_schema, study_schema

__all__ = ["schema"]


@click.command()
@click.option("--site", is_flag=True, help="Of a site.toml instead of a study file.")
@click.option("--markdown", is_flag=True, help="Print the reference page of both files instead of a JSON schema.")
def schema(*, site: bool, markdown: bool) -> None:
    """Print the JSON schema of a study file."""
    if markdown:
        click.echo(render_reference(), nl=False)
    else:
        click.echo(json.dumps(site_schema() if site else study_schema(), indent=2, ensure_ascii=False))
