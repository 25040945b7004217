import DigitClassifier
import Foundation
import ImageIO

let file = URL(fileURLWithPath: CommandLine.arguments[1])
guard let source = CGImageSourceCreateWithURL(file as CFURL, nil),
    let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
else { fatalError("\(file.path) is no picture.") }
let model = try DigitClassifier()
try model.selfCheck()
print(try model.predict(picture: DigitClassifier.picture(image)).digits[0].label)
