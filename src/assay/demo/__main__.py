"""``python -m assay.demo``."""

from assay.demo.story import main

if __name__ == "__main__":
    main()
