"""The form of a prompt set's file: what it may say, and what that becomes. docs/prompt-sets.md tells it in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from node.domain import (
    CodedConcept,
    Eligibility,
    EvidenceLevel,
    Gate,
    GateDomain,
    Priority,
    PromptFinding,
    PromptSet,
    ReviewRule,
)
from node.inference.cutoffs import Cutoffs, Share

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Texts = tuple[Text, ...]

TERM = "{}"
"""Where a template takes the term."""
AGGREGATE = re.compile(r"max|mean|top_[1-9][0-9]?_mean")


def _aggregate(told: str) -> str:
    if not AGGREGATE.fullmatch(told):
        raise ValueError("use 'max' or 'mean', or 'top_3_mean' for the mean of the three highest (1 to 99)")
    return told


class Part(BaseModel):
    """Base of every part of a file: an unknown key is an error, and texts are not made from numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Concept(Part):
    """A coded entry."""

    scheme: str = Field(min_length=1, max_length=16)
    code: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    def value(self) -> CodedConcept:
        return CodedConcept(self.scheme, self.code, self.meaning)


class EligibilityPart(Part):
    """Which images; empty is any."""

    modalities: Texts
    body_parts: Texts
    views: Texts
    minimum_age_years: int = Field(ge=0)


class Preprocessing(Part):
    """How the model's own input is made."""

    resize: Literal["tf", "pil"]
    microns: float = Field(1.0, ge=0.1, le=10.0)


class Templates(Part):
    """Sentences with one place for a term, or none."""

    positive: Texts = Field(min_length=1)
    negative: Texts = Field(min_length=1)

    def filled(self, terms: Texts) -> tuple[Texts, Texts]:
        return _filled(self.positive, terms), _filled(self.negative, terms)


class Pair(Part):
    """Sentences that say a finding is there, and that it is not."""

    positive: Texts = Field(min_length=1)
    negative: Texts = Field(min_length=1)


class FindingPart(Part):
    """One finding. Its prompts are listed, or made of its terms and the set's templates."""

    key: Key
    concept: Concept
    site: Concept
    lateralised: bool
    priority: Literal["STAT", "HIGH", "ROUTINE"]
    names: dict[Literal["en", "ko"], Text] = Field(default_factory=dict)
    terms: Texts = ()
    positive: Texts = Field((), min_length=1)
    negative: Texts = Field((), min_length=1)
    against: Literal["", "others"] = ""
    paraphrase: Pair | None = None
    evidence: EvidenceLevel = EvidenceLevel.SITE
    published: str = ""
    nominal: Cutoffs

    @model_validator(mode="after")
    def evidence_is_named(self) -> Self:
        if self.evidence is EvidenceLevel.PUBLISHED and not self.published.strip():
            raise ValueError("evidence: published needs 'published': the figure and where it stands")
        if self.against and self.negative:
            raise ValueError("'against: others' and 'negative' cannot both say what is compared with")
        return self


class DomainPart(Part):
    """One kind of picture."""

    key: Key
    name: Text
    prompts: Texts = Field(min_length=1)


class GatePart(Part):
    """Which kinds of picture pass."""

    accepted: tuple[Key, ...] = Field(min_length=1)
    margin: float = Field(ge=-1, le=1)
    domains: tuple[DomainPart, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def accepted_are_domains(self) -> Self:
        keys = [domain.key for domain in self.domains]
        if len(set(keys)) != len(keys):
            raise ValueError(f"domains: a key occurs twice in {keys}")
        if unknown := set(self.accepted) - set(keys):
            raise ValueError(f"accepted {sorted(unknown)} are none of the domains {keys}")
        if set(self.accepted) == set(keys):
            raise ValueError("every domain is accepted: name at least one that is not")
        return self

    def value(self) -> Gate:
        domains = tuple(GateDomain(**domain.model_dump()) for domain in self.domains)
        return Gate(accepted=self.accepted, margin=self.margin, domains=domains)


class ReviewPart(Part):
    """When a person has to look first."""

    entropy_above: Share | None = None
    margin_below: Share | None = None


class PromptSetFile(Part):
    """A whole file."""

    name: Text
    version: Text
    demo: bool
    description: str = ""
    eligibility: EligibilityPart
    preprocessing: Preprocessing
    aggregate: Annotated[str, AfterValidator(_aggregate)]
    templates: Templates | None = None
    paraphrases: Templates | None = None
    review: ReviewPart | None = None
    gate: GatePart | None = None
    findings: tuple[FindingPart, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def findings_fit_together(self) -> Self:
        keys = [finding.key for finding in self.findings]
        if len(set(keys)) != len(keys):
            raise ValueError(f"findings: a key occurs twice in {keys}")
        for finding in self.findings:
            positive, negative = self.prompts(finding)
            if not positive or not negative:
                raise ValueError(
                    f"findings: {finding.key!r} lacks prompts: list 'positive' and 'negative' (or 'against: others'), "
                    "or give 'terms' here and 'templates' to the set")
            if both := set(positive) & set(negative):
                raise ValueError(f"findings: {finding.key!r}: {sorted(both)} cannot be positive and negative")
        return self

    def prompts(self, finding: FindingPart) -> tuple[Texts, Texts]:
        """Positive and negative prompts: listed ones before those of templates."""
        positive, negative = self._own(finding)
        if finding.against:
            others = [self._own(other)[0] for other in self.findings if other.key != finding.key]
            negative = tuple(prompt for prompts in others for prompt in prompts)
        return positive, negative

    def _own(self, finding: FindingPart) -> tuple[Texts, Texts]:
        filled = self.templates.filled(finding.terms) if self.templates and finding.terms else ((), ())
        return finding.positive or filled[0], finding.negative or filled[1]

    def _paraphrase(self, finding: FindingPart) -> tuple[Texts, Texts]:
        if finding.paraphrase:
            return finding.paraphrase.positive, finding.paraphrase.negative
        return self.paraphrases.filled(finding.terms) if self.paraphrases and finding.terms else ((), ())

    def value(self, sha256: str, probes: Path) -> PromptSet:
        """As the domain has it; ``sha256`` is that of the file, ``probes`` where its probe images would lie."""
        return PromptSet(
            name=self.name, version=self.version, demo=self.demo,
            eligibility=Eligibility(**self.eligibility.model_dump()), resize=self.preprocessing.resize,
            microns=self.preprocessing.microns,
            aggregate=self.aggregate, findings=tuple(map(self._finding, self.findings)), sha256=sha256, probes=probes,
            gate=self.gate.value() if self.gate else None,
            review=ReviewRule(**self.review.model_dump()) if self.review else None)

    def _finding(self, told: FindingPart) -> PromptFinding:
        positive, negative = self.prompts(told)
        other_positive, other_negative = self._paraphrase(told)
        return PromptFinding(
            key=told.key, concept=told.concept.value(), site=told.site.value(), lateralised=told.lateralised,
            priority=Priority[told.priority], positive=positive, negative=negative, nominal=told.nominal.value(),
            nominal_source=told.nominal.source, evidence=told.evidence, published=told.published,
            names={str(tag): name for tag, name in told.names.items()}, paraphrase_positive=other_positive,
            paraphrase_negative=other_negative)


def _filled(templates: Texts, terms: Texts) -> Texts:
    """Every template with every term, each sentence once, in order."""
    return tuple(dict.fromkeys(template.replace(TERM, term) for template in templates for term in terms))
