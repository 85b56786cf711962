"""The table of an inference, as text and as HTML."""

from __future__ import annotations

import html
import textwrap

import numpy as np

_WIDTH, _NAME = 80, 18
_KINDS = {
    "model": "by the model", "kernel": "by a kernel estimate of the density", "HC0": "HC0, robust",
    "HC1": "HC1, robust", "HC2": "HC2, robust", "HC3": "HC3, robust", "cluster": "clustered",
}  # fmt: skip


def as_text(inference) -> str:
    """Return the table as text."""
    heads, rows = _cells(inference)
    width = min(max(map(len, ["parameter", *inference.names])), _NAME)
    lines = [line for text in _about(inference) for line in textwrap.wrap(text, _WIDTH)]
    lines += [
        "",
        f"{heads[0]:<{width}} " + " ".join(f"{head:>{size}}" for head, size in zip(heads[1:], _SIZES, strict=True)),
    ]
    for name, *cells in rows:
        name = " ".join(name.split())
        if len(name) > width:  # classes differ at the beginning, features at the end
            name = name[: width // 2] + "\N{HORIZONTAL ELLIPSIS}" + name[width // 2 + 1 - width :]
        sizes = _SIZES if len(cells) == len(_SIZES) else (*_SIZES[:2], 1)
        lines.append(f"{name:<{width}} " + " ".join(f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True)))
    return "\n".join(lines)


_SIZES = (11, 10, 8, 7, 10, 10)


def as_html(inference) -> str:
    """Return the table as HTML."""
    heads, rows = _cells(inference)
    text = "<br>".join(html.escape(line) for line in _about(inference))
    body = []
    for name, *cells in rows:
        last = f'<td colspan="{len(heads) - len(cells)}">' if len(cells) + 1 < len(heads) else "<td>"
        parts = ["<td>" + html.escape(cell) for cell in cells[:-1]] + [last + html.escape(cells[-1])]
        body.append(f"<tr><th>{html.escape(name)}</th>{'</td>'.join(parts)}</td></tr>")
    head = "".join(f"<th>{html.escape(part)}</th>" for part in heads)
    return f"<p>{text}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cells(inference):
    """Return the heads of the columns, and the cells of every parameter; a reason stands for those that are missing."""
    heads = ["parameter", "estimate", "std. error", "t" if inference.uses_t else "z", "p", "2.5 %", "97.5 %"]
    statistic, p, interval = inference.statistic, inference.p_values, inference.conf_int()
    rows = []
    for i, name in enumerate(inference.names):
        cells = [name, f"{inference.coef[i]:.5g}", _number(inference.std_errors[i], ".4g")]
        if i in inference._reasons:
            cells.append(inference._reasons[i])
        else:
            numbers = ((statistic[i], ".2f"), (p[i], ".4f"), (interval[i, 0], ".4g"), (interval[i, 1], ".4g"))
            cells += [_number(value, form) for value, form in numbers]
        rows.append(cells)
    return heads, rows


def _number(value, form) -> str:
    if np.isnan(value):
        return "-"
    text = format(value, form)
    if form == ".4f" and value < 1e-4:
        return "<.0001"
    return f"{value:.1e}" if form == ".2f" and len(text) > 8 else text


def _about(inference) -> list[str]:
    """Return what is said above the table."""
    about = inference._about
    lines = [f"{about.title}: {inference.n:g} rows, {len(inference.coef)} parameters"]
    if not about.converged:
        lines.append(f"The fit did not converge, and errors hold at a minimum only. {about.message}")
    lines += about.doubts
    law = f"t with {inference.df_resid:g} degrees of freedom" if inference.uses_t else "normal distribution"
    lines.append(f"Errors {_KINDS[inference.kind]}; {law}")
    if about.is_weighted:
        lines.append({"precision": "Weights: precisions", "frequency": "Weights: frequencies"}[inference.weights])
    if inference.is_shrunken:
        lines.append("Shrunken by the L2 penalty: errors are about the estimates, tests are not given")
    numbers = {
        "log-likelihood": inference.log_likelihood, "AIC": inference.aic, "BIC": inference.bic,
        "dispersion": inference.dispersion, "deviance": inference.deviance,
        "R2" if np.isfinite(inference.r2) else "D2": inference.r2 if np.isfinite(inference.r2) else inference.d2,
    }  # fmt: skip
    given = [f"{key} {value:.6g}" for key, value in numbers.items() if np.isfinite(value)]
    return lines + [", ".join(given[k : k + 3]) for k in range(0, len(given), 3)]
