"""The HTML pages' templates."""

from pathlib import Path

import jinja2


def render_template(template: str | Path, **values) -> str:
    """Fill in a template; it may include others of its folder. Text is escaped."""
    template = Path(template)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(**values)
