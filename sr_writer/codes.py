"""The code table: every coded concept our reports use, in one place.

Nothing validates a SNOMED code for us (a code that does not exist passes every validator), so each row says
how it was verified, and a test holds the dictionary rows against a copy of PS3.16.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from node.domain import CodedConcept, Presence, Priority, Side

PRIVATE_SCHEME = "99AINODE"


class Verified(Enum):
    """How a row was verified."""

    #: Code and meaning stand in PS3.16, as pydicom ships it.
    DICTIONARY = "dictionary"
    #: The same code with the same meaning in several independent public sources.
    PUBLIC = "public"
    #: Ours: declared in Coding Scheme Identification Sequence.
    PRIVATE = "private"


class Row(NamedTuple):
    """One line of the table; ``context_group`` is the CID of PS3.16 it is taken from, or empty."""

    concept: CodedConcept
    context_group: str
    verified: Verified


def _row(scheme: str, code: str, meaning: str, group: str = "", verified: Verified = Verified.DICTIONARY) -> Row:
    return Row(CodedConcept(scheme, code, meaning), group, verified)


_PUBLIC = Verified.PUBLIC
_PRIVATE = Verified.PRIVATE


class Code(Enum):
    """The table."""

    # Document titles and section headings
    IMAGING_MEASUREMENT_REPORT = _row("DCM", "126000", "Imaging Measurement Report", "CID 7021")
    DIAGNOSTIC_IMAGING_REPORT = _row("LN", "18748-4", "Diagnostic Imaging Report", "CID 7000")
    FINDINGS_SECTION = _row("LN", "59776-5", "Findings", "CID 7001")
    IMPRESSIONS_SECTION = _row("LN", "19005-8", "Impressions", "CID 7001")
    RECOMMENDATIONS_SECTION = _row("LN", "18783-1", "Recommendations", "CID 7001")
    # Document context
    LANGUAGE = _row("DCM", "121049", "Language of Content Item and Descendants")
    ENGLISH = _row("RFC5646", "en-US", "English (United States)", "CID 5000", _PUBLIC)
    KOREAN = _row("RFC5646", "ko-KR", "Korean (Korea)", "CID 5000", _PUBLIC)
    OBSERVER_TYPE = _row("DCM", "121005", "Observer Type")
    DEVICE = _row("DCM", "121007", "Device", "CID 270")
    DEVICE_OBSERVER_UID = _row("DCM", "121012", "Device Observer UID")
    DEVICE_OBSERVER_NAME = _row("DCM", "121013", "Device Observer Name")
    DEVICE_OBSERVER_MANUFACTURER = _row("DCM", "121014", "Device Observer Manufacturer")
    DEVICE_OBSERVER_MODEL_NAME = _row("DCM", "121015", "Device Observer Model Name")
    DEVICE_OBSERVER_SERIAL_NUMBER = _row("DCM", "121016", "Device Observer Serial Number")
    PROCEDURE_REPORTED = _row("DCM", "121058", "Procedure reported")
    IMAGING_PROCEDURE = _row("SCT", "363679005", "Imaging procedure", "CID 100")
    CHEST_RADIOGRAPH = _row("SCT", "399208008", "Plain X-ray of chest", "", _PUBLIC)
    PROCESSING_EQUIPMENT = _row("DCM", "109102", "Processing Equipment", "CID 7005")
    # Image library (TID 1600)
    IMAGE_LIBRARY = _row("DCM", "111028", "Image Library")
    IMAGE_LIBRARY_GROUP = _row("DCM", "126200", "Image Library Group")
    SOURCE = _row("SCT", "260753009", "Source")
    MODALITY = _row("DCM", "121139", "Modality")
    STUDY_DATE = _row("DCM", "111060", "Study Date")
    STUDY_TIME = _row("DCM", "111061", "Study Time")
    ROWS = _row("DCM", "110910", "Pixel Data Rows")
    COLUMNS = _row("DCM", "110911", "Pixel Data Columns")
    PIXELS = _row("UCUM", "{pixels}", "Pixels", "", _PUBLIC)
    CR = _row("DCM", "CR", "Computed Radiography", "CID 29")
    DX = _row("DCM", "DX", "Digital Radiography", "CID 29")
    CT = _row("DCM", "CT", "Computed Tomography", "CID 29")
    MR = _row("DCM", "MR", "Magnetic Resonance", "CID 29")
    US = _row("DCM", "US", "Ultrasound", "CID 29")
    MG = _row("DCM", "MG", "Mammography", "CID 29")
    # Measurements (TID 1501, TID 4019)
    IMAGING_MEASUREMENTS = _row("DCM", "126010", "Imaging Measurements")
    MEASUREMENT_GROUP = _row("DCM", "125007", "Measurement Group")
    TRACKING_IDENTIFIER = _row("DCM", "112039", "Tracking Identifier")
    TRACKING_UID = _row("DCM", "112040", "Tracking Unique Identifier")
    ALGORITHM_NAME = _row("DCM", "111001", "Algorithm Name")
    ALGORITHM_PARAMETERS = _row("DCM", "111002", "Algorithm Parameters")
    ALGORITHM_VERSION = _row("DCM", "111003", "Algorithm Version")
    FINDING = _row("DCM", "121071", "Finding", "CID 7002")
    FINDING_SITE = _row("SCT", "363698007", "Finding Site", "CID 9000")
    LATERALITY = _row("SCT", "272741003", "Laterality", "CID 210")
    LEFT = _row("SCT", "7771000", "Left", "CID 244")
    RIGHT = _row("SCT", "24028007", "Right", "CID 244")
    BILATERAL = _row("SCT", "51440002", "Bilateral", "CID 244")
    SOURCE_OF_MEASUREMENT = _row("DCM", "121112", "Source of Measurement", "CID 7551")
    NO_UNITS = _row("UCUM", "1", "no units", "CID 7181")
    AI_SCORE = _row(PRIVATE_SCHEME, "AISCORE", "AI score", "", _PRIVATE)
    PRESENT_ABOVE = _row(PRIVATE_SCHEME, "PRESENTABOVE", "AI score present at or above", "", _PRIVATE)
    ABSENT_BELOW = _row(PRIVATE_SCHEME, "ABSENTBELOW", "AI score absent below", "", _PRIVATE)
    PRESENT = _row("SCT", "52101004", "Present", "CID 240")
    ABSENT = _row("SCT", "272519000", "Absent", "CID 240")
    UNDETERMINED = _row("SCT", "373068000", "Undetermined", "CID 240")
    NOT_EVALUATED = _row("SCT", "373121007", "Not Evaluated", "CID 3703")
    # Statements about the study
    QUALITATIVE_EVALUATIONS = _row("UMLS", "C0034375", "Qualitative Evaluations", "", _PUBLIC)
    PRIORITY = _row("SCT", "260870009", "Priority")
    EMERGENCY = _row("SCT", "25876001", "Emergency")
    URGENT = _row("SCT", "103391001", "Urgent", "CID 3414", _PUBLIC)
    ROUTINE = _row("SCT", "50811001", "Routine", "", _PUBLIC)
    SUMMARY = _row("DCM", "121111", "Summary")
    IMPRESSION = _row("DCM", "121073", "Impression", "CID 7002")
    RECOMMENDATION = _row("DCM", "121075", "Recommendation", "CID 7002")
    COMMENT = _row("DCM", "121106", "Comment")
    # Findings and sites that prompt sets may name
    CARDIOMEGALY = _row("SCT", "8186001", "Cardiomegaly", "", _PUBLIC)
    PULMONARY_EDEMA = _row("SCT", "19242006", "Pulmonary edema", "CID 3700")
    LUNG_CONSOLIDATION = _row("SCT", "95436008", "Lung consolidation", "", _PUBLIC)
    ATELECTASIS = _row("SCT", "46621007", "Atelectasis", "", _PUBLIC)
    PNEUMOTHORAX = _row("SCT", "36118008", "Pneumothorax", "CID 6105")
    PLEURAL_EFFUSION = _row("SCT", "60046008", "Pleural effusion", "CID 645")
    PNEUMONIA = _row("SCT", "233604007", "Pneumonia", "", _PUBLIC)
    FRACTURE = _row("SCT", "125605004", "Fracture of bone", "", _PUBLIC)
    LUNG_NODULE = _row("SCT", "786838002", "Nodule of lung", "", _PUBLIC)
    LUNG_MASS = _row("SCT", "309529002", "Lung mass", "", _PUBLIC)
    OPACITY = _row("DCM", "112001", "Opacity", "CID 6102")
    INFILTRATE = _row("DCM", "112121", "Infiltrate", "CID 6102")
    GROUND_GLASS_OPACITY = _row("DCM", "112120", "Ground glass opacity", "CID 6102")
    MELANOMA = _row("SCT", "93655004", "Malignant melanoma of skin", "", _PUBLIC)
    BASAL_CELL_CARCINOMA = _row("SCT", "254701007", "Basal cell carcinoma of skin", "", _PUBLIC)
    SQUAMOUS_CELL_CARCINOMA = _row("SCT", "254651007", "Squamous cell carcinoma of skin", "CID 638")
    ECZEMA = _row("SCT", "43116000", "Eczema", "CID 4405")
    ATOPIC_DERMATITIS = _row("SCT", "24079001", "Atopic dermatitis", "CID 4405")
    PSORIASIS = _row("SCT", "9014002", "Psoriasis", "CID 4405")
    DIABETIC_RETINOPATHY = _row("SCT", "4855003", "Diabetic retinopathy", "", _PUBLIC)
    PROLIFERATIVE_RETINOPATHY = _row("SCT", "59276001", "Proliferative diabetic retinopathy", "", _PUBLIC)
    DIABETIC_MACULAR_EDEMA = _row("SCT", "312912001", "Diabetic macular edema", "", _PUBLIC)
    NEOPLASM = _row("SCT", "108369006", "Neoplasm", "", _PUBLIC)
    MALIGNANT_NEOPLASM = _row("SCT", "1240414004", "Malignant neoplasm", "", _PUBLIC)
    ACTINIC_KERATOSIS = _row("SCT", "201101007", "Actinic keratosis", "CID 4405")
    INVASIVE_BREAST_CARCINOMA = _row("DCM", "111389", "Invasive breast carcinoma", "CID 6159")
    NECROSIS = _row("SCT", "6574001", "Necrosis", "CID 7151")
    PULMONARY_EMBOLISM = _row("SCT", "59282003", "Pulmonary embolism", "CID 6102")
    INTRACRANIAL_HEMORRHAGE = _row("SCT", "1386000", "Intracranial hemorrhage")
    AORTIC_ANEURYSM = _row("SCT", "67362008", "Aortic aneurysm", "CID 3700")
    # Findings for which no code could be verified: ours until somebody does
    ENLARGED_CARDIOMEDIASTINUM = _row(PRIVATE_SCHEME, "ENLCARDIOMED", "Enlarged cardiomediastinum", "", _PRIVATE)
    LUNG_LESION = _row(PRIVATE_SCHEME, "LUNGLESION", "Lung lesion", "", _PRIVATE)
    PLEURAL_OTHER = _row(PRIVATE_SCHEME, "PLEURALOTHER", "Other pleural abnormality", "", _PRIVATE)
    SUPPORT_DEVICE = _row(PRIVATE_SCHEME, "SUPPORTDEVICE", "Support device", "", _PRIVATE)
    NO_RETINOPATHY = _row(PRIVATE_SCHEME, "DRGRADE0", "No diabetic retinopathy", "", _PRIVATE)
    MILD_RETINOPATHY = _row(PRIVATE_SCHEME, "DRGRADE1", "Mild nonproliferative diabetic retinopathy", "", _PRIVATE)
    MODERATE_RETINOPATHY = _row(
        PRIVATE_SCHEME, "DRGRADE2", "Moderate nonproliferative diabetic retinopathy", "", _PRIVATE)
    SEVERE_RETINOPATHY = _row(
        PRIVATE_SCHEME, "DRGRADE3", "Severe nonproliferative diabetic retinopathy", "", _PRIVATE)
    INFLAMMATORY_INFILTRATE = _row(PRIVATE_SCHEME, "INFLAMMATION", "Inflammatory infiltrate", "", _PRIVATE)
    BRAIN_INFARCTION = _row(PRIVATE_SCHEME, "BRAININFARCT", "Acute brain infarction", "", _PRIVATE)
    MIDLINE_SHIFT = _row(PRIVATE_SCHEME, "MIDLINESHIFT", "Midline shift of brain", "", _PRIVATE)
    HYDROCEPHALUS = _row(PRIVATE_SCHEME, "HYDROCEPHALUS", "Hydrocephalus", "", _PRIVATE)
    FREE_AIR = _row(PRIVATE_SCHEME, "FREEAIR", "Free intraperitoneal air", "", _PRIVATE)
    FREE_FLUID = _row(PRIVATE_SCHEME, "FREEFLUID", "Free intraperitoneal fluid", "", _PRIVATE)
    BOWEL_OBSTRUCTION = _row(PRIVATE_SCHEME, "BOWELOBSTR", "Bowel obstruction", "", _PRIVATE)
    LIVER_LESION = _row(PRIVATE_SCHEME, "LIVERLESION", "Liver lesion", "", _PRIVATE)
    HYDRONEPHROSIS = _row(PRIVATE_SCHEME, "HYDRONEPHROSIS", "Hydronephrosis", "", _PRIVATE)
    CHEST = _row("SCT", "816094009", "Chest", "CID 4031")
    PLEURA = _row("SCT", "3120008", "Pleura", "CID 7151")
    MEDIASTINUM = _row("SCT", "72410000", "Mediastinum", "CID 4031")
    HEAD = _row("SCT", "69536005", "Head", "CID 4031")
    BRAIN = _row("SCT", "12738006", "Brain", "CID 4030")
    ABDOMEN = _row("SCT", "818981001", "Abdomen", "CID 4031")
    LIVER = _row("SCT", "10200004", "Liver", "CID 4030")
    KIDNEY = _row("SCT", "64033007", "Kidney", "CID 4030")
    BREAST = _row("SCT", "76752008", "Breast", "CID 4031")
    TISSUE = _row("SCT", "85756007", "Tissue", "CID 7151")
    LUNG = _row("SCT", "39607008", "Lung", "CID 6100")
    HEART = _row("SCT", "80891009", "Heart", "CID 4031")
    SKIN = _row("SCT", "39937001", "Skin", "CID 4029")
    RETINA = _row("SCT", "5665001", "Retina", "CID 4029")

    @property
    def concept(self) -> CodedConcept:
        """The coded entry itself."""
        return self.value.concept


PRESENCE: dict[Presence, Code] = {
    Presence.PRESENT: Code.PRESENT,
    Presence.ABSENT: Code.ABSENT,
    Presence.UNDETERMINED: Code.UNDETERMINED,
    Presence.NOT_EVALUABLE: Code.NOT_EVALUATED,
}
SIDE: dict[Side, Code] = {Side.LEFT: Code.LEFT, Side.RIGHT: Code.RIGHT, Side.BOTH: Code.BILATERAL}
#: A historical study has no priority: nothing is said.
PRIORITY: dict[Priority, Code] = {
    Priority.STAT: Code.EMERGENCY,
    Priority.HIGH: Code.URGENT,
    Priority.ROUTINE: Code.ROUTINE,
}
LANGUAGE: dict[str, Code] = {"en": Code.ENGLISH, "ko": Code.KOREAN}
MODALITY: dict[str, Code] = {code.name: code for code in (Code.CR, Code.DX, Code.CT, Code.MR, Code.US, Code.MG)}


def is_known(concept: CodedConcept) -> bool:
    """In the table with the same meaning, or of a private scheme (99…), which only its owner can verify."""
    if concept.scheme != PRIVATE_SCHEME and concept.scheme.startswith("99"):
        return True
    return any(code.concept == concept for code in Code)
