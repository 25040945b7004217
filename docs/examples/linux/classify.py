"""Classify a text: python classify.py "The music was excellent ."."""

import sys

from sentiment_transformer import SentimentTransformer


def main() -> None:
    """Print the verdict on the text of the command line."""
    with SentimentTransformer() as model:
        for scored in model.predict(sys.argv[1]).sentiment:
            print(f"{scored.label}: {scored.score:.3f}")


if __name__ == "__main__":
    main()
