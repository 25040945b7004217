package app;

import android.content.Context;
import android.graphics.Bitmap;
import edgekit.models.digit_classifier.DigitClassifier;
import java.io.IOException;

/** Reads a handwritten digit, white ink on black. */
public final class Digits {
    private Digits() {}

    public static String read(Context context, Bitmap bitmap) throws IOException {
        try (DigitClassifier model = DigitClassifier.open(context)) {
            return model.predict(DigitClassifier.picture(bitmap)).digits.get(0).label;
        }
    }
}
